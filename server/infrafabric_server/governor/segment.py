"""A block of rows of the index, with a posting for each capability that any of them has.

A posting has one of three forms, by how many rows have the capability:

    few      a short list, or the bare row when there is one: most capabilities may be rare,
             and then memory counts, not time
    sparse   an array of rows
    dense    a column of zeros and ones over the whole block, added in one sweep; a byte
             serves two rows, half a block apart, with four bits each

Blocks keep each change small: a posting is turned into a column, or a column made, for one
block at a time, and no column is ever copied because the index grew.
"""

from collections.abc import Iterable
from itertools import chain

import numpy as np
from numpy.typing import NDArray

SIZE = 65_536
"""Rows in a block: as many as 16 bits can name."""

_HALF = SIZE // 2

DENSE = SIZE // 32
"""Rows above which a posting is a column. At a 32nd, either form takes about 2 µs to add, and
all columns together 16 bytes at most for each capability of each row; at a 64th the columns of
thousands of capabilities no longer fit the processor's cache, and take twice the time."""

_SPARSE_AGAIN = DENSE // 2
_FEW = 8
# Sums of so many columns fit the four bits of a row.
_BATCH = 15

_ONE = np.uint8(1)

Bytes = NDArray[np.uint8]
Rows = NDArray[np.uint16]


class _Many:
    """The rows that have one capability, when they are more than a few."""

    __slots__ = ("_count", "_rows", "column")

    def __init__(self, rows: list[int]) -> None:
        self._rows = np.array(rows, np.uint16)
        self._count = len(rows)
        self.column: Bytes | None = None

    def __len__(self) -> int:
        return self._count

    @property
    def rows(self) -> Rows:
        """The sparse form; of no use while there is a column."""
        return self._rows[: self._count]

    def add(self, row: int) -> None:
        if self.column is not None:
            self.column[row % _HALF] |= 1 if row < _HALF else 16
        elif self._count == DENSE:
            rows = np.append(self._rows, np.uint16(row))
            self.column = np.zeros(_HALF, np.uint8)
            self.column[rows[rows < _HALF]] = 1
            self.column[rows[rows >= _HALF] - _HALF] |= 16
            self._rows = np.empty(0, np.uint16)
        else:
            if self._count == len(self._rows):
                room = min(2 * self._count, DENSE) - self._count
                self._rows = np.append(self._rows, np.zeros(room, np.uint16))
            self._rows[self._count] = row
        self._count += 1

    def discard(self, row: int) -> None:
        self._count -= 1
        if self.column is None:
            self._rows[np.argmax(self._rows == row)] = self._rows[self._count]
            return
        self.column[row % _HALF] &= 16 if row < _HALF else 1
        if self._count == _SPARSE_AGAIN:
            low, high = np.flatnonzero(self.column & 1), np.flatnonzero(self.column & 16)
            self._rows = np.append(low, high + _HALF).astype(np.uint16)
            self.column = None


class Segment:
    """Capability sets of up to `SIZE` rows, counted from 0."""

    def __init__(self) -> None:
        self._few: dict[str, int | list[int]] = {}
        self._many: dict[str, _Many] = {}

    @property
    def postings(self) -> int:
        """How many capabilities any row has."""
        return len(self._few) + len(self._many)

    def add(self, row: int, capabilities: Iterable[str]) -> None:
        """Enter the capabilities of a row that has none."""
        for capability in capabilities:
            many = self._many.get(capability)
            if many is not None:
                many.add(row)
                continue
            few = self._few.get(capability)
            if few is None:
                self._few[capability] = row
            elif isinstance(few, int):
                self._few[capability] = [few, row]
            elif len(few) < _FEW:
                few.append(row)
            else:
                del self._few[capability]
                self._many[capability] = _Many([*few, row])

    def discard(self, row: int, capabilities: Iterable[str]) -> None:
        """Take out a row that was entered with these capabilities."""
        for capability in capabilities:
            many = self._many.get(capability)
            if many is not None:
                many.discard(row)
                if not len(many):
                    del self._many[capability]
                continue
            few = self._few[capability]
            if isinstance(few, int) or len(few) == 1:
                del self._few[capability]
            else:
                few.remove(row)

    def count(self, query: Iterable[str], shared: Bytes) -> None:
        """Add to `shared`, for each of its rows, how many capabilities of the query it has."""
        few: list[int | list[int]] = []
        sparse: list[Rows] = []
        dense: list[Bytes] = []
        for capability in query:
            many = self._many.get(capability)
            if many is None:
                if (rows := self._few.get(capability)) is not None:
                    few.append(rows)
            elif many.column is not None:
                dense.append(many.column)
            else:
                sparse.append(many.rows)
        if few:
            rows_of_few = chain.from_iterable((r,) if isinstance(r, int) else r for r in few)
            sparse.append(np.fromiter(rows_of_few, np.uint16))
        if sparse:
            np.add.at(shared, np.concatenate(sparse, dtype=np.intp), _ONE)
        for start in range(0, len(dense), _BATCH):
            _add_columns(dense[start : start + _BATCH], shared)


def _add_columns(columns: list[Bytes], shared: Bytes) -> None:
    total = columns[0][: len(shared)].copy()
    for column in columns[1:]:
        np.add(total, column[: len(total)], out=total)
    low, high = shared[:_HALF], shared[_HALF:]
    if len(high):
        high += total[: len(high)] >> 4
        total &= 15
    low += total
