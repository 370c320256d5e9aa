"""A token bucket: so many calls a second, and no more than that at once."""


class TokenBucket:
    """Counts calls against a rate; a full bucket holds the calls of one second.

    Args:
        rate: calls per second, at least 1.
        now: seconds on any clock that does not go back.
    """

    def __init__(self, rate: int, now: float) -> None:
        self.rate = rate
        self.taken = 0
        self._start = now
        self._level = float(rate)
        self._at = now

    def take(self, now: float) -> bool:
        """Return whether one more call is within the rate, and count it."""
        self._level = min(self.rate, self._level + (now - self._at) * self.rate)
        self._at = now
        self.taken += 1
        if self._level < 1:
            return False
        self._level -= 1
        return True

    def per_second(self, now: float) -> int:
        """Return how many calls there were in each second so far, or in less than the first."""
        return round(self.taken / max(now - self._start, 1.0))
