"""Things that happen by themselves at a time: one task, one heap, no polling."""

import asyncio
import contextlib
import heapq
from collections.abc import Callable

from infrafabric_server.clock import Clock

# Replaced moments stay in the heap until they are this many and outnumber the live ones.
_SLACK = 64


class Timers:
    """Calls back when a named moment of the time of day or a delay has come.

    Each name has one moment; setting it again replaces it. Moments are measured by the
    monotonic clock from the time they are set, so a jump of the time of day moves none.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._heap: list[tuple[float, str]] = []
        self._due: dict[str, tuple[float, Callable[[], None]]] = {}
        self._changed = asyncio.Event()

    def set(self, name: str, delay: float, callback: Callable[[], None]) -> None:
        """Call `callback` in `delay` seconds (at once if not positive), under `name`."""
        moment = self._clock.monotonic() + max(0.0, delay)
        self._due[name] = (moment, callback)
        heapq.heappush(self._heap, (moment, name))
        if len(self._heap) > _SLACK + 4 * len(self._due):
            self._heap = [(moment, name) for name, (moment, _) in self._due.items()]
            heapq.heapify(self._heap)
        if self._heap[0][1] == name:
            self._changed.set()

    def clear(self, name: str) -> None:
        """Forget the moment of `name`, if it has one."""
        self._due.pop(name, None)

    def fire(self) -> float | None:
        """Call back everything that is due; return the seconds to the next one, or None."""
        while self._heap:
            moment, name = self._heap[0]
            current = self._due.get(name)
            if current is None or current[0] != moment:
                heapq.heappop(self._heap)
                continue
            left = moment - self._clock.monotonic()
            if left > 0:
                return left
            heapq.heappop(self._heap)
            del self._due[name]
            current[1]()
        return None

    async def run(self) -> None:
        """Fire what is due until cancelled."""
        while True:
            self._changed.clear()
            left = self.fire()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._changed.wait()
