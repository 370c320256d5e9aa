"""Many swarms ranked at once: the order of `matching`, on arrays."""

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from infrafabric_server.governor.columns import Columns
from infrafabric_server.governor.matching import MICROS, Metric

Rows = NDArray[np.intp]
Values = NDArray[np.float64] | NDArray[np.int64] | NDArray[np.bool_]

Merit = Callable[[Rows], Values]
"""What speaks for each of some rows; more is better."""


class Merits:
    """How well the swarms of each row do for one requirement.

    `shared` is how many capabilities a row shares with the requirement, which has `size`.
    """

    def __init__(
        self, columns: Columns, shared: NDArray[np.uint8], size: int, metric: Metric
    ) -> None:
        self._columns = columns
        self._shared = shared
        self._size = size
        self._metric = metric

    def match(self, rows: Rows) -> NDArray[np.float64]:
        """Return the match of each row."""
        part, whole = self._parts(rows)
        return part / whole

    def score(self, rows: Rows) -> NDArray[np.float64]:
        """Return the score of each row, by the same steps as `matching.score`."""
        part, whole = self._parts(rows)
        cost = self._columns.cost[rows]
        price = np.where(cost == 0, MICROS, cost)
        return part * self._columns.reputation[rows] * MICROS / (whole * price)

    def in_order(self, preferred_model: str) -> list[Merit]:
        """Return what decides, each where all before it are equal.

        No price at all, the score, the preferred model ("" for none), the match, the low price.
        """
        columns = self._columns
        merits: list[Merit] = [
            lambda rows: columns.cost[rows] == 0,
            self.score,
            self.match,
            lambda rows: -columns.cost[rows],
        ]
        if preferred_model:
            merits.insert(2, lambda rows: columns.model[rows] == preferred_model)
        return merits

    def _parts(self, rows: Rows) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        if not self._size:
            ones = np.ones(len(rows), np.int64)
            return ones, ones
        shared = self._shared[rows].astype(np.int64)
        if self._metric is Metric.COVERAGE:
            return shared, np.full(len(rows), self._size, np.int64)
        return shared, self._columns.size[rows] + self._size - shared


def leaders(rows: Rows, merits: Iterable[Merit]) -> Rows:
    """Return the rows, of at least one, that no other is better than."""
    for merit in merits:
        if len(rows) == 1:
            break
        values = merit(rows)
        rows = rows[values == values.max()]
    return rows


def ties(rows: Rows, merits: Sequence[Merit]) -> Iterator[Rows]:
    """Yield all the rows, best first, those together that no merit tells apart.

    The best are found without an order of the others, which most questions never ask for.
    """
    if not len(rows):
        return
    best = leaders(rows, merits)
    yield best
    rows = np.setdiff1d(rows, best, assume_unique=True)
    if not len(rows):
        return
    values = np.stack([merit(rows).astype(np.float64) for merit in merits])
    order = np.lexsort(-values[::-1])
    ordered = values[:, order]
    starts = np.flatnonzero(np.any(ordered[:, 1:] != ordered[:, :-1], axis=0)) + 1
    start = 0
    for end in (*starts, len(rows)):
        yield rows[order[start:end]]
        start = end
