"""The latest items of a log in memory, for readers that keep up with it."""

from bisect import bisect_right
from collections.abc import Callable
from typing import Generic, TypeVar

ItemT = TypeVar("ItemT")


class Recent(Generic[ItemT]):
    """Items by revision, as many as fit; older ones are forgotten, whoever needs them.

    Each reader keeps its own place and pulls, so a slow one costs no memory: when its place
    is below `floor`, it reads what it missed from where the log is kept.

    Args:
        revision: everything up to here is already past and not held.
        capacity: largest total weight of what is held.
        weigh: weight of one item.
    """

    def __init__(self, revision: int, capacity: int, weigh: Callable[[ItemT], int]) -> None:
        self.floor = revision
        self._capacity = capacity
        self._weigh = weigh
        self._weight = 0
        self._revisions: list[int] = []
        self._items: list[ItemT] = []
        self._weights: list[int] = []

    def append(self, revision: int, item: ItemT) -> None:
        """Add the item of a revision newer than all before."""
        self._revisions.append(revision)
        self._items.append(item)
        self._weights.append(self._weigh(item))
        self._weight += self._weights[-1]
        if self._weight > self._capacity:
            self._trim()

    def after(self, revision: int) -> list[ItemT]:
        """Return the items later than `revision`, which is not below `floor`."""
        return self._items[bisect_right(self._revisions, revision) :]

    def forget(self, revision: int) -> None:
        """Drop everything up to `revision`, as if it did not fit."""
        self._drop(bisect_right(self._revisions, revision))
        self.floor = max(self.floor, revision)

    def _trim(self) -> None:
        # Down to half, so that the cost of moving the lists is spread over many items.
        count, weight = 0, self._weight
        while weight > self._capacity // 2:
            weight -= self._weights[count]
            count += 1
        self.floor = self._revisions[count - 1]
        self._drop(count)

    def _drop(self, count: int) -> None:
        self._weight -= sum(self._weights[:count])
        del self._revisions[:count], self._items[:count], self._weights[:count]
