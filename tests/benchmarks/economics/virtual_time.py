"""A day in seconds: an event loop that jumps to the next timer when nothing is left to do."""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

T = TypeVar("T")

# A Monday, at midnight: budgets of a day begin with the simulation.
BEGIN = datetime(2026, 1, 5, tzinfo=UTC)


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop whose time stands still while there is work, and jumps when there is none.

    Nothing outside of the process can wake it, so it is for programs without any I/O.
    """

    def __init__(self) -> None:
        self._seconds = 0.0
        super().__init__(_Jump(self._pass))

    def time(self) -> float:
        """Return the seconds since the loop was made."""
        return self._seconds

    def _pass(self, seconds: float) -> None:
        self._seconds += seconds


class _Jump(selectors.SelectSelector):
    """Lets time pass where others would wait; nothing is ever ready."""

    def __init__(self, advance: Callable[[float], None]) -> None:
        super().__init__()
        self._advance = advance

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Let `timeout` seconds pass at once.

        Raises RuntimeError when the loop would wait for ever.
        """
        if timeout is None:
            raise RuntimeError("everything waits, and nothing is left to happen")
        if timeout > 0:
            self._advance(timeout)
        return []


class VirtualClock:
    """The time of the running loop, from `BEGIN` on; see Clock."""

    def now(self) -> datetime:
        """Return the time of day in UTC."""
        return BEGIN + timedelta(seconds=self.monotonic())

    def monotonic(self) -> float:
        """Return the seconds since the loop was made."""
        return asyncio.get_running_loop().time()


def run_virtually(main: Coroutine[Any, Any, T]) -> T:
    """Run a program in virtual time to its end."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)
