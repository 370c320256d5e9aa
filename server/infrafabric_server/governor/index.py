"""Which of many capability sets match a query set: exact, and fast for every kind of sets."""

import numpy as np
from numpy.typing import NDArray

from infrafabric_server.governor.matching import Comparison, Metric
from infrafabric_server.governor.segment import SIZE, Segment
from infrafabric_server.limits import MAX_CAPABILITIES

# Sizes of rows that match nothing and everything: beyond what any product below can make up
# for, and small enough that it fits 32 bits.
_NEVER = 1_000_000
_ALWAYS = -_NEVER


class CapabilityIndex:
    """Capability sets in numbered rows, counted against a query all at once.

    With Jaccard's metric a row matches a query when

        shared / (size of row + size of query - shared) >= p / d

    and with coverage when shared / size of what is required >= p / d: the row's size or the
    query's, whichever of the two is the requirement. Each is a comparison of integers of the
    form

        u * size of row <= w * shared - v * size of query

    Row numbers are small, dense and used again, so that the owner can keep what else it
    knows of a row in arrays.
    """

    def __init__(self, *, of_requirements: bool = False) -> None:
        """Start empty; either the rows are requirements, or the queries."""
        self._of_requirements = of_requirements
        self._reset()

    def _reset(self) -> None:
        self._segments: list[Segment] = []
        self._sizes = np.full(0, _NEVER, np.int32)
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

    def add(self, capabilities: frozenset[str]) -> int:
        """Enter a set of at most 64 and return its row."""
        if len(capabilities) > MAX_CAPABILITIES:
            raise ValueError(f"{len(capabilities)} capabilities: at most {MAX_CAPABILITIES}")
        if self._vacant:
            row = self._vacant.pop()
        else:
            row = self._rows
            self._rows += 1
            if row == len(self._segments) * SIZE:
                self._segments.append(Segment())
                self._sizes = np.concatenate([self._sizes, np.full(SIZE, _NEVER, np.int32)])
        undemanding = self._of_requirements and not capabilities
        self._sizes[row] = _ALWAYS if undemanding else len(capabilities)
        self._segments[row // SIZE].add(row % SIZE, capabilities)
        return row

    def discard(self, row: int, capabilities: frozenset[str]) -> None:
        """Take out a row that was entered with these capabilities."""
        self._segments[row // SIZE].discard(row % SIZE, capabilities)
        self._sizes[row] = _NEVER
        self._vacant.append(row)
        if len(self._vacant) == self._rows:
            self._reset()

    def shared(self, query: frozenset[str]) -> NDArray[np.uint8]:
        """Return for each row how many capabilities it shares with the query."""
        shared = np.zeros(self._rows, np.uint8)
        for number, segment in enumerate(self._segments):
            segment.count(query, shared[number * SIZE : (number + 1) * SIZE])
        return shared

    def matching(
        self, query: frozenset[str], shared: NDArray[np.uint8], comparison: Comparison
    ) -> NDArray[np.bool_]:
        """Return for each row whether it matches the query, given what `shared` returned.

        Whoever is asked for nothing matches.
        """
        sizes = self._sizes[: self._rows]
        if not query and not self._of_requirements:
            return sizes < _NEVER
        p, d = comparison.least.as_integer_ratio()
        if comparison.metric is Metric.JACCARD:
            gain = np.multiply(shared, np.int32(p + d), dtype=np.int32)
            return sizes * np.int32(p) <= gain - np.int32(p * len(query))
        if self._of_requirements:
            return sizes * np.int32(p) <= np.multiply(shared, np.int32(d), dtype=np.int32)
        return shared >= -(-p * len(query) // d)
