"""Which of many capability sets match a query set: exact, and fast for every kind of sets."""

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from infrafabric_server.governor.matching import MIN_MATCH
from infrafabric_server.governor.segment import SIZE, Segment
from infrafabric_server.limits import MAX_CAPABILITIES

# With denominators up to this, every product below fits 32 bits.
_MAX_DENOMINATOR = 1_000_000
_NEVER = np.iinfo(np.int32).max
_ALWAYS = np.iinfo(np.int32).min


class CapabilityIndex:
    """Capability sets in numbered rows, counted against a query all at once.

    A row matches a query when shared / (size of row + size of query - shared) reaches the
    threshold p / d, which is the comparison of integers

        p * size of row <= (d + p) * shared - p * size of query

    Row numbers are small, dense and used again, so that the owner can keep what else it
    knows of a row in arrays.
    """

    def __init__(self, threshold: Fraction = MIN_MATCH) -> None:
        """Start empty; `threshold` is above 0, at most 1, with a denominator up to a million."""
        if not 0 < threshold <= 1 or threshold.denominator > _MAX_DENOMINATOR:
            raise ValueError(
                f"threshold {threshold}: must be above 0, at most 1, with a denominator of at "
                f"most {_MAX_DENOMINATOR}"
            )
        self._p = threshold.numerator
        self._per_shared = np.int32(threshold.numerator + threshold.denominator)
        self._reset()

    def _reset(self) -> None:
        self._segments: list[Segment] = []
        self._burden = np.full(0, _NEVER, np.int32)
        self._vacant: list[int] = []
        self._rows = 0

    @property
    def rows(self) -> int:
        """One more than the largest row number in use since the index was last empty."""
        return self._rows

    @property
    def postings(self) -> int:
        """How many postings are kept; 0 when no row has a capability."""
        return sum(segment.postings for segment in self._segments)

    def add(self, capabilities: frozenset[str], *, always: bool = False) -> int:
        """Enter a set of at most 64 and return its row; with `always` it matches any query."""
        if len(capabilities) > MAX_CAPABILITIES:
            raise ValueError(f"{len(capabilities)} capabilities: at most {MAX_CAPABILITIES}")
        if self._vacant:
            row = self._vacant.pop()
        else:
            row = self._rows
            self._rows += 1
            if row == len(self._segments) * SIZE:
                self._segments.append(Segment())
                self._burden = np.concatenate([self._burden, np.full(SIZE, _NEVER, np.int32)])
        self._burden[row] = _ALWAYS if always else self._p * len(capabilities)
        self._segments[row // SIZE].add(row % SIZE, capabilities)
        return row

    def discard(self, row: int, capabilities: frozenset[str]) -> None:
        """Take out a row that was entered with these capabilities."""
        self._segments[row // SIZE].discard(row % SIZE, capabilities)
        self._burden[row] = _NEVER
        self._vacant.append(row)
        if len(self._vacant) == self._rows:
            self._reset()

    def shared(self, query: frozenset[str]) -> NDArray[np.uint8]:
        """Return for each row how many capabilities it shares with the query."""
        shared = np.zeros(self._rows, np.uint8)
        for number, segment in enumerate(self._segments):
            segment.count(query, shared[number * SIZE : (number + 1) * SIZE])
        return shared

    def matching(self, query: frozenset[str], shared: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Return for each row whether it matches the query, given what `shared` returned."""
        gain = np.multiply(shared, self._per_shared, dtype=np.int32)
        return self._burden[: self._rows] <= gain - self._p * len(query)
