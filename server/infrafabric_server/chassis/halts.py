"""Ends runs whose swarm may not work any more."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from infrafabric_server.errors import FabricError, Reason
from infrafabric_server.governor.breaker.records import BreakerRecords
from infrafabric_server.governor.gate import Gate

T = TypeVar("T")


class Halts:
    """Stops what runs as soon as a breaker opens or the fabric is held.

    A session is told and has some time to halt; a module cannot be told, and is stopped at once.
    """

    def __init__(self, gate: Gate, records: BreakerRecords) -> None:
        """Connect, before the mirror starts."""
        self._gate = gate
        self._records = records
        self._running: dict[asyncio.Task[Any], str] = {}
        # The reasons of runs that were stopped and have not ended yet.
        self._stopped: dict[asyncio.Task[Any], str] = {}
        records.breakers.subscribe(lambda _change: self._look())
        records.holds.subscribe(lambda _change: self._look())

    def check(self, swarm_id: str) -> None:
        """Raise BREAKER_OPEN when a swarm is given no work now."""
        closed = self._gate.closed(swarm_id)
        if closed is not None:
            raise FabricError(Reason.BREAKER_OPEN, closed.detail)

    async def run(self, swarm_id: str, work: Coroutine[Any, Any, T]) -> T:
        """Do the work of a swarm; a caller that is cancelled ends it.

        Raises what `work` raises, and BREAKER_OPEN when it was stopped.
        """
        running = asyncio.create_task(work)
        self._running[running] = swarm_id
        try:
            return await running
        except asyncio.CancelledError:
            caller = asyncio.current_task()
            if running in self._stopped and (caller is None or not caller.cancelling()):
                stopped = FabricError(Reason.BREAKER_OPEN, self._stopped[running])
                # It has run: whoever calls the caller must not begin it again.
                stopped.certain = True
                raise stopped from None
            raise
        finally:
            del self._running[running]
            self._stopped.pop(running, None)

    def _look(self) -> None:
        for running, swarm_id in self._running.items():
            # Once: another cancellation would cut short how it ends.
            if running in self._stopped or self._records.in_force(swarm_id) is None:
                continue
            closed = self._gate.closed(swarm_id)
            if closed is not None:
                # Noted now: the breaker may be closed again before the run has ended.
                self._stopped[running] = closed.detail
                running.cancel()
