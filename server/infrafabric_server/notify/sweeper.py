"""What is kept for a time only, such as broadcasts."""

import asyncio
import contextlib
from collections.abc import Callable
from datetime import datetime, timedelta
from heapq import heappop, heappush
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
    """Deletes each entry of a view once it is older than `keep`; one may be written anew.

    The oldest is the next, whatever order they came in: the time of day may jump.
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
        self._entries: list[tuple[datetime, str]] = []
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
            if self._entries[0][0] > limit:
                return (self._entries[0][0] - limit).total_seconds()
            old: list[tuple[datetime, str]] = []
            while self._entries and self._entries[0][0] <= limit and len(old) < MAX_BATCH:
                old.append(heappop(self._entries))
            present = [self._view.delete(id_) for time, id_ in old if self._is_of(time, id_)]
            try:
                if present:
                    await self._mirror.commit([], present)
            except StoreError:
                for entry in old:
                    heappush(self._entries, entry)
                raise
        return None

    def _is_of(self, time: datetime, id_: str) -> bool:
        """Tell whether an entry is still the one of a time."""
        found = self._view.get(id_)
        return found is not None and self._time(found) == time

    def _added(self, change: Change[M]) -> None:
        if change.new is not None:
            entry = (self._time(change.new), change.id)
            heappush(self._entries, entry)
            if self._entries[0] is entry:
                self._changed.set()
