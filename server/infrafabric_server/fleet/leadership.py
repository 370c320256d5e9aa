"""Who does what must happen once in the fabric: timers, sweeps, escalations, sealing.

With one process that is the process itself. With several replicas they elect one by a key in
the store that lives on a lease. Its term is the revision of that key: a transaction that compares
it is refused once another leads. When the leader dies, the next one begins when its lease is over.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Protocol

import structlog
from pydantic import BaseModel, ConfigDict

from infrafabric_server.clock import Clock
from infrafabric_server.store.mirror import Change, Mirror
from infrafabric_server.store.protocol import (
    Compare,
    LeaseNotFound,
    Store,
    StoreClosed,
    StoreError,
    absent,
    unchanged,
)

# How long a leader may be silent. Short, as nothing is swept meanwhile; long beside the pauses of
# a busy process, as each change of leader looks at every task.
LEASE_SECONDS = 5.0
# A leader has renewed its lease at most this part of it ago, or it does not count as one.
_VALID = 0.5
# Renewals within the lease.
_RENEWALS = 5
# Wait before a store that failed is asked again.
_RETRY_SECONDS = 0.5

_ID = "fabric"

Listener = Callable[[bool], None]

_log = structlog.get_logger(__name__)


class Leadership(Protocol):
    """Whether this process leads.

    `term` rises from leader to leader, None when this process does not lead.
    """

    @property
    def leading(self) -> bool:
        """Whether this process leads now, by its own monotonic clock."""
        ...

    @property
    def term(self) -> int | None:
        """The term in which this process leads; None when it does not."""
        ...

    def fence(self) -> list[Compare]:
        """Return what a transaction compares so that it is refused when another leads."""
        ...

    def follow(self, listener: Listener) -> None:
        """Call `listener` with True whenever this process begins to lead, with False at the end."""
        ...


class SoleLeader:
    """The leadership of the only process: it leads from its start to its end."""

    @property
    def leading(self) -> bool:
        """See Leadership."""
        return True

    @property
    def term(self) -> int | None:
        """See Leadership."""
        return 1

    def fence(self) -> list[Compare]:
        """See Leadership."""
        return []

    def follow(self, listener: Listener) -> None:
        """See Leadership: nothing ever changes."""


async def while_leading(leadership: Leadership, work: Callable[[], Awaitable[None]]) -> None:
    """Run `work` whenever this process leads, and cancel it when it does no more; until cancelled.

    Raises what `work` raises.
    """
    told = asyncio.Event()
    leadership.follow(lambda _leading: told.set())
    while True:
        told.clear()
        if not leadership.leading:
            await told.wait()
            continue
        async with asyncio.TaskGroup() as group:
            working = group.create_task(_run(work))
            await told.wait()
            working.cancel()


async def _run(work: Callable[[], Awaitable[None]]) -> None:
    await work()


class LeaderRecord(BaseModel):
    """Who leads; stored under `leader/fabric`, bound to the leader's lease."""

    model_config = ConfigDict(frozen=True)

    replica: str
    begin_time: datetime


class ElectedLeader:
    """Takes part in the election of a leader among the replicas of one fabric.

    Declare it before the mirror starts, and own `run`.
    """

    def __init__(
        self,
        store: Store,
        mirror: Mirror,
        clock: Clock,
        replica: str,
        *,
        lease_seconds: float = LEASE_SECONDS,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """Take the store in which to be elected, as `replica`.

        `lease_seconds` is how long a silent leader stays one; `sleep` waits for seconds of
        `clock`.
        """
        self._store = store
        self._clock = clock
        self._replica = replica
        self._lease_seconds = lease_seconds
        self._sleep = sleep
        self._view = mirror.view("leader/", LeaderRecord)
        self._view.subscribe(self._changed)
        self._vacant = asyncio.Event()
        self._term: int | None = None
        self._until = 0.0
        self._listeners: list[Listener] = []

    @property
    def leading(self) -> bool:
        """See Leadership."""
        return self._term is not None and self._clock.monotonic() < self._until

    @property
    def term(self) -> int | None:
        """See Leadership."""
        return self._term if self.leading else None

    @property
    def leader(self) -> str:
        """The replica that leads as far as is known here; "" when nobody does."""
        record = self._view.get(_ID)
        return "" if record is None else record.replica

    def fence(self) -> list[Compare]:
        """See Leadership. Who has never led gets a comparison that nothing passes."""
        return [unchanged(self._view.key(_ID), self._term or -1)]

    def follow(self, listener: Listener) -> None:
        """See Leadership."""
        self._listeners.append(listener)

    async def run(self) -> None:
        """Stand for election until cancelled; then step down, so that another one follows."""
        while True:
            if self._view.get(_ID) is not None:
                self._vacant.clear()
                await self._vacant.wait()
            try:
                await self._stand()
            except StoreClosed:
                raise
            except StoreError as error:
                _log.warning("election_failed", reason=str(error))
                await self._sleep(_RETRY_SECONDS)

    async def _stand(self) -> None:
        begun = self._clock.monotonic()
        lease = await self._store.grant(self._lease_seconds)
        try:
            record = LeaderRecord(replica=self._replica, begin_time=self._clock.now())
            key = self._view.key(_ID)
            put = self._view.put(_ID, record, lease=lease)
            result = await self._store.txn([absent(key)], [put])
            if not result.succeeded:
                # Somebody was faster; the view will tell when it is over.
                await self._sleep(_RETRY_SECONDS)
                return
            self._begin(result.revision, begun)
            await self._lead(lease, result.revision)
        finally:
            self._end()
            with contextlib.suppress(StoreError):
                await self._store.revoke(lease)

    async def _lead(self, lease: int, term: int) -> None:
        while self.leading and not self._deposed(term):
            await self._sleep(self._lease_seconds / _RENEWALS)
            asked = self._clock.monotonic()
            try:
                await self._store.keepalive(lease)
            except LeaseNotFound:
                _log.warning("leadership_expired", term=term)
                return
            except StoreClosed:
                raise
            except StoreError as error:
                _log.warning("leadership_not_renewed", reason=str(error))
                continue
            if self._clock.monotonic() >= self._until:
                # Meanwhile it was not led: whoever leads next looks at everything.
                _log.warning("leadership_renewed_too_late", term=term)
                return
            self._until = asked + self._lease_seconds * _VALID

    def _deposed(self, term: int) -> bool:
        entry = self._view.entry(_ID)
        return entry is not None and entry.mod_revision > term

    def _begin(self, term: int, begun: float) -> None:
        self._term = term
        self._until = begun + self._lease_seconds * _VALID
        _log.info("leading", term=term, replica=self._replica)
        self._tell(leading=True)

    def _end(self) -> None:
        if self._term is not None:
            _log.info("leading_no_more", term=self._term)
            self._term = None
            self._tell(leading=False)

    def _tell(self, *, leading: bool) -> None:
        for listener in self._listeners:
            listener(leading)

    def _changed(self, change: Change[LeaderRecord]) -> None:
        if change.new is None:
            self._vacant.set()
