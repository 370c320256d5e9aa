"""Request ids: a repeated call is answered as the first one was."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import structlog

from infrafabric_server.clock import Clock
from infrafabric_server.coordinator.models import RequestRecord
from infrafabric_server.errors import FabricError, FieldViolation, Reason
from infrafabric_server.store.protocol import (
    Compare,
    Delete,
    Put,
    Store,
    StoreError,
    absent,
    unchanged,
)

PREFIX = "requests/"
KEPT = timedelta(hours=24)

# Records outlive their day by this at most.
_SWEEP_SECONDS = 3600.0
# Wait before a sweep that the store refused is tried again.
_RETRY_SECONDS = 60.0
# Records read and deleted at once: about a millisecond of the store's time.
_PAGE = 60

_log = structlog.get_logger(__name__)


class Requests:
    """Answers by request id, for 24 hours.

    They are in the store alone: a busy fleet leaves millions of them in a day, and only a
    repeated call reads one.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._store = store
        self._clock = clock
        self._sleep = sleep

    def remember(self, request_id: str, record: RequestRecord) -> tuple[Compare, Put]:
        """Return what records an answer in the transaction of the call, unless there is one."""
        key = PREFIX + request_id
        return absent(key), Put(key, record.model_dump_json(exclude_defaults=True))

    async def answered(self, request_id: str, digest: str) -> RequestRecord | None:
        """Return the answer to an earlier call with this request id and content, if any.

        Raises REQUEST_ID_REUSED when that call had another content.
        """
        kv = await self._store.get(PREFIX + request_id) if request_id else None
        if kv is None:
            return None
        record = RequestRecord.model_validate_json(kv.value)
        if record.digest != digest:
            raise FabricError(
                Reason.REQUEST_ID_REUSED,
                f"request id {request_id} was used before with another content",
                fields=[FieldViolation("request_id", "must be new for a new request")],
            )
        return record

    async def run(self) -> None:
        """Delete what is too old, now and every hour, until cancelled."""
        while True:
            wait = _SWEEP_SECONDS
            try:
                await self.sweep()
            except StoreError as error:
                _log.warning("requests_not_swept", error=str(error))
                wait = _RETRY_SECONDS
            await self._sleep(wait)

    async def sweep(self) -> None:
        """Delete the records of more than a day ago."""
        oldest = self._clock.now() - KEPT
        after, more = "", True
        while more:
            page = await self._store.range(PREFIX, limit=_PAGE, after=after)
            more = page.more
            after = page.kvs[-1].key if page.kvs else after
            old = [
                kv for kv in page.kvs if RequestRecord.model_validate_json(kv.value).time <= oldest
            ]
            if old:
                compares = [unchanged(kv.key, kv.mod_revision) for kv in old]
                await self._store.txn(compares, [Delete(kv.key) for kv in old])
