"""The time of day of the fabric: that of its leader, on every replica.

What one replica writes, such as when a claim is over, another one judges. If each went by its own
clock, a claim of five minutes would be over at once for a leader that is six minutes ahead. So
the leader says every second what time it is for it, and the others go by that.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import structlog

from infrafabric_server.clock import Clock
from infrafabric_server.fleet.leadership import Leadership

_SECONDS = 1.0
# What the time of the fabric nears that of the leader's own clock by, in each second: a clock that
# is set, and a new leader with another one, makes times in the fabric run 5 % faster or slower.
_SLEW = 0.05
# Differences below are the way that the message took.
_TOLERANCE = 0.02

_log = structlog.get_logger(__name__)


class FabricClock:
    """A Clock whose time of day is moved by a Timekeeper and otherwise runs with `monotonic`."""

    def __init__(self, own: Clock) -> None:
        """Begin with the time of day of `own`."""
        self._own = own
        self._offset = own.now().timestamp() - own.monotonic()

    def now(self) -> datetime:
        """Return the time of day of the fabric in UTC."""
        return datetime.fromtimestamp(self._own.monotonic() + self._offset, UTC)

    def monotonic(self) -> float:
        """Return seconds since an arbitrary start; it never goes back."""
        return self._own.monotonic()

    @property
    def ahead(self) -> float:
        """How many seconds the machine's own clock is ahead of the fabric."""
        return self._own.now().timestamp() - self.now().timestamp()

    def move(self, seconds: float) -> None:
        """Move the time of day by so many seconds."""
        self._offset += seconds


class Timekeeper:
    """Keeps the clock of a replica with that of the leader.

    A message is JSON: the leader's term and its time, in seconds since 1970. Messages may get
    lost; without any, clocks drift apart as crystals do.
    """

    def __init__(
        self,
        clock: FabricClock,
        leadership: Leadership,
        send: Callable[[bytes], None],
        *,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """Take the clock to keep, and what sends a message to all other replicas, if it can."""
        self._clock = clock
        self._leadership = leadership
        self._send = send
        self._sleep = sleep
        self._term = 0

    async def run(self) -> None:
        """Say what time it is while this process leads, until cancelled."""
        while True:
            term = self._leadership.term
            if term is not None:
                self._clock.move(max(-_SLEW, min(_SLEW, self._clock.ahead)))
                self._send(json.dumps([term, self._clock.now().timestamp()]).encode())
            await self._sleep(_SECONDS)

    def hear(self, message: bytes) -> None:
        """Take the time from the leader; ignore one that leads no more, and anything else."""
        try:
            term, time = json.loads(message)
            behind = datetime.fromtimestamp(time, UTC).timestamp() - self._clock.now().timestamp()
        except (ValueError, TypeError, OverflowError, OSError, RecursionError):
            _log.warning("time_ignored", message=repr(message[:100]))
            return
        if type(term) is not int or term < self._term or self._leadership.leading:
            return
        self._term = term
        if abs(behind) > _TOLERANCE:
            self._clock.move(behind)
