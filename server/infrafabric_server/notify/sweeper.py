"""What is kept for a time only: broadcasts and the answers to repeated requests."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Generic, TypeVar

import structlog
from pydantic import BaseModel

from infrafabric_server.clock import Clock
from infrafabric_server.store.mirror import Change, Mirror, View
from infrafabric_server.store.protocol import StoreError

# Deletions in one transaction: about a millisecond of the store's time.
MAX_BATCH = 500
# Wait before deletions that the store refused are tried again, in seconds.
RETRY_SECONDS = 5.0

M = TypeVar("M", bound=BaseModel)

_log = structlog.get_logger(__name__)


class Sweeper(Generic[M]):
    """Deletes each entry of a view once it is older than `keep`; entries never change.

    They are written in the order of their times, so the oldest is always the next.
    """

    def __init__(
        self,
        mirror: Mirror,
        view: View[M],
        clock: Clock,
        *,
        time: Callable[[M], datetime],
        keep: timedelta,
    ) -> None:
        self._mirror = mirror
        self._view = view
        self._clock = clock
        self._time = time
        self._keep = keep
        self._entries: deque[tuple[datetime, str]] = deque()
        self._changed = asyncio.Event()

    def start(self) -> None:
        """Take in the view as it is, and follow it from now on."""
        self._entries.extend(sorted((self._time(each), id_) for id_, each in self._view.items()))
        self._view.subscribe(self._added)

    async def run(self) -> None:
        """Delete what grows too old, until cancelled."""
        while True:
            self._changed.clear()
            try:
                wait = await self.sweep()
            except StoreError as error:
                _log.warning("not_swept", prefix=self._view.prefix, error=str(error))
                wait = RETRY_SECONDS
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._changed.wait()

    async def sweep(self) -> float | None:
        """Delete what is too old now; return the seconds to the next one, None without one."""
        while self._entries:
            limit = self._clock.now() - self._keep
            old = [id_ for time, id_ in self._batch() if time <= limit]
            if not old:
                return max(0.0, (self._entries[0][0] - limit).total_seconds())
            present = [self._view.delete(id_) for id_ in old if id_ in self._view]
            if present:
                await self._mirror.commit([], present)
            for _ in old:
                self._entries.popleft()
        return None

    def _batch(self) -> list[tuple[datetime, str]]:
        return [self._entries[index] for index in range(min(MAX_BATCH, len(self._entries)))]

    def _added(self, change: Change[M]) -> None:
        if change.new is not None and change.old is None:
            self._entries.append((self._time(change.new), change.id))
            if len(self._entries) == 1:
                self._changed.set()
