"""What happens too often for an entry each: counted into one entry per swarm and second."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

import structlog
from structlog.typing import FilteringBoundLogger

from infrafabric_server.clock import Clock
from infrafabric_server.errors import FabricError
from infrafabric_server.store.protocol import Store, StoreDenied, StoreFull, StoreUnavailable
from infrafabric_server.witness.outbox import Outbox
from infrafabric_server.witness.tally import Counted, Tally

# Entries in one transaction; a store takes 4,096 operations.
_BATCH = 1000
_RETRY_SECONDS = 1.0


class Flood:
    """Counts refusals that have no effect of their own, such as lost claims.

    For each operation and swarm there is one entry a second at most. It is written a second
    after the first refusal that it counts, or when `flush` asks for it, and never less than
    a second after the one before. What was counted and not yet written is lost with the
    process: there is no effect that it would have to go with.
    """

    def __init__(
        self,
        outbox: Outbox,
        store: Store,
        clock: Clock,
        *,
        component: str,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """Take where the entries go, what times them, and in whose name they usually are.

        `sleep` waits for a number of seconds before something that failed is tried again.
        """
        self._outbox = outbox
        self._store = store
        self._clock = clock
        self._component = component
        self._components: dict[str, str] = {}
        self._sleep = sleep
        self._log: FilteringBoundLogger = structlog.get_logger(__name__)
        self._tally = Tally()
        self._writing: list[Counted] = []
        self._flushing = 0
        self._some = asyncio.Event()
        self._hurry = asyncio.Event()
        self._wrote = asyncio.Condition()

    def count(
        self, operation: str, swarm_id: str, task_id: str, reason: str, *, component: str = ""
    ) -> None:
        """Count one refusal; takes a few microseconds and writes nothing yet.

        `component` is who refuses by this operation, if not in whose name entries usually are.
        """
        if component:
            self._components[operation] = component
        clock = self._clock
        self._tally.count(operation, swarm_id, task_id, reason, clock.monotonic(), clock.now())
        self._some.set()

    async def flush(self) -> None:
        """Return when all that was counted before the call is in the outbox.

        That takes up to a second for a swarm that had its entry less than a second ago.
        The work is done by `run`.
        """
        awaited = [*self._tally.pending(), *self._writing]
        if not awaited:
            return
        self._flushing += 1
        self._hurry.set()
        try:
            async with self._wrote:
                await self._wrote.wait_for(lambda: all(counted.written for counted in awaited))
        finally:
            self._flushing -= 1

    async def run(self) -> None:
        """Write the entries when they are due, until cancelled."""
        while True:
            await self._some.wait()
            early = self._flushing > 0
            self._hurry.clear()
            due = self._tally.next_time(early=early)
            if due is None:
                self._some.clear()
                continue
            now = self._clock.monotonic()
            if now < due:
                with suppress(TimeoutError):
                    # Not wait_for: until Python 3.12 it can take a cancellation for an answer.
                    async with asyncio.timeout(due - now):
                        await self._hurry.wait()
                continue
            self._writing = self._tally.take(now, early=early)
            while self._writing:
                await self._write(self._writing[:_BATCH])

    async def _write(self, batch: Sequence[Counted]) -> None:
        puts = [
            self._outbox.draft(
                self._components.get(counted.operation, self._component),
                counted.operation,
                swarm_id=counted.swarm_id,
                task_id=counted.task_id,
                details=counted.details,
            )
            for counted in batch
        ]
        # The ids stay the same: a repeat of what was applied after all doubles nothing.
        while True:
            try:
                self._outbox.check()
                await self._store.txn([], puts)
                break
            except (FabricError, StoreUnavailable, StoreDenied, StoreFull) as error:
                self._log.warning("flood_not_written", entries=len(puts), error=str(error))
                await self._sleep(_RETRY_SECONDS)
        del self._writing[: len(batch)]
        async with self._wrote:
            for counted in batch:
                counted.written = True
            self._wrote.notify_all()
