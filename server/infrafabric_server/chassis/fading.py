"""The time by which reputations fade: it goes on as time does, whatever becomes of the clocks."""

from datetime import datetime, timedelta

from pydantic import BaseModel, ConfigDict

from infrafabric_server.clock import Clock

# Of a half-life: as much may be made up for at most. A leader whose clock is a year ahead costs a
# record 8 % of its weight then (1 - 2^-1/8), and not all of it.
_MOST_MISSED = 1 / 8
# A replica that is told of a time as far from its own weighs everything anew.
_NOTICEABLE = timedelta(minutes=1)


class FadingTime(BaseModel):
    """The time, and what the clock of the leader showed; stored under `reputation_time/fabric`."""

    model_config = ConfigDict(frozen=True)

    time: datetime
    clock_time: datetime


class Fading:
    """Tells by which time evidence weighs now, the same on all replicas but for a moment.

    The replica that leads says which time it is, and goes on from there by its monotonic clock; the
    others follow. A time of day matters twice: where a new fabric begins, and for how long nobody
    was there before this replica was.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._leading = False
        # What was stored before this replica was there, and nobody has said anew since.
        self._found: FadingTime | None = None
        self._heard = False
        self._time, self._since = clock.now(), clock.monotonic()

    def now(self) -> datetime:
        """Return the time; it goes back only for who hears that another leader has another one."""
        return self._time + timedelta(seconds=self._clock.monotonic() - self._since)

    def hear(self, told: FadingTime | None) -> bool:
        """Take what is stored, unless this replica leads; return whether it is quite another time.

        Args:
            told: what is stored now.
        """
        if told is None or self._leading:
            return False
        moved = abs(told.time - self.now())
        self._found, self._heard = None if self._heard else told, True
        self._set(told.time)
        return moved > _NOTICEABLE

    def lead(self, half_life: timedelta) -> None:
        """Go on from where the leader before was; what was missed counts within a bound."""
        reached = self.now()
        if self._found is not None:
            missed = self._clock.now() - self._found.clock_time
            reached = max(reached, self._found.time + min(missed, half_life * _MOST_MISSED))
        self._set(reached)
        self._found, self._heard, self._leading = None, True, True

    def follow(self) -> None:
        """Lead no more."""
        self._leading = False

    def told(self) -> FadingTime:
        """Return what is to be stored: for who leads."""
        return FadingTime(time=self.now(), clock_time=self._clock.now())

    def _set(self, time: datetime) -> None:
        self._time, self._since = time, self._clock.monotonic()
