"""A block of rows of the index, with a posting for each capability that any of them has.

A posting has one of three forms, by how many rows have the capability:

    few      a short list, or the bare row when there is one: most capabilities may be rare,
             and then memory counts, not time
    sparse   an array of rows
    dense    a column of zeros and ones over the whole block, added in one sweep

Blocks keep each change small: a posting is turned into a column, or a column made, for one
block at a time, and no column is ever copied because the index grew.
"""

from collections.abc import Iterable
from itertools import chain

import numpy as np
from numpy.typing import NDArray

SIZE = 32_768
"""Rows in a block. Adding 64 columns of blocks this size takes a third more than of one long
array (0.43 ms against 0.32 ms for 100,000 rows), of blocks of 8,192 three times as long."""

DENSE = SIZE // 32
"""Rows from which a posting is a column. At a 32nd, both forms take about the same time, and
all columns together at most 32 times the bytes of the sets themselves."""

_SPARSE_AGAIN = DENSE // 2
_FEW = 8

_ONE = np.uint8(1)


class _Many:
    """The rows that have one capability, when they are more than a few."""

    __slots__ = ("_column", "_count", "_rows")

    def __init__(self, rows: list[int]) -> None:
        self._rows = np.array(rows, np.intp)
        self._count = len(rows)
        self._column: NDArray[np.uint8] | None = None

    def __len__(self) -> int:
        return self._count

    def add(self, row: int) -> None:
        if self._column is not None:
            self._column[row] = 1
        elif self._count == DENSE:
            self._column = np.zeros(SIZE, np.uint8)
            self._column[self._rows[: self._count]] = 1
            self._column[row] = 1
            self._rows = np.empty(0, np.intp)
        else:
            if self._count == len(self._rows):
                self._rows = np.concatenate([self._rows, np.empty_like(self._rows)])
            self._rows[self._count] = row
        self._count += 1

    def discard(self, row: int) -> None:
        self._count -= 1
        if self._column is None:
            rows = self._rows
            rows[np.argmax(rows == row)] = rows[self._count]
            return
        self._column[row] = 0
        if self._count == _SPARSE_AGAIN:
            self._rows = np.flatnonzero(self._column)
            self._column = None

    @property
    def column(self) -> NDArray[np.uint8] | None:
        """The dense form, if the posting has it now."""
        return self._column

    @property
    def rows(self) -> NDArray[np.intp]:
        """The sparse form, if the posting has that one."""
        return self._rows[: self._count]


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

    def count(self, query: Iterable[str], shared: NDArray[np.uint8]) -> None:
        """Add to `shared`, for each of its rows, how many capabilities of the query it has."""
        used = len(shared)
        few: list[int | list[int]] = []
        sparse: list[NDArray[np.intp]] = []
        for capability in query:
            many = self._many.get(capability)
            if many is None:
                if (rows := self._few.get(capability)) is not None:
                    few.append(rows)
            elif (column := many.column) is not None:
                np.add(shared, column[:used], out=shared)
            else:
                sparse.append(many.rows)
        if few:
            rows_of_few = chain.from_iterable((r,) if isinstance(r, int) else r for r in few)
            sparse.append(np.fromiter(rows_of_few, np.intp))
        if sparse:
            np.add.at(shared, np.concatenate(sparse), _ONE)
