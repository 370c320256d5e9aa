"""The queue for runs: bounded, with one run at a time for each swarm, served round robin."""

from collections import deque
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Room:
    """How many may run, wait for one swarm, and wait in all."""

    running: int
    waiting_per_swarm: int
    waiting: int


class FairQueue(Generic[T]):
    """A queue for each swarm, served round robin; without a clock, and nothing waits in it.

    A swarm that has just had a turn comes after all others that wait then: between two runs of a
    swarm that waits, no other swarm has more than one.
    """

    def __init__(self) -> None:
        self._items: dict[str, deque[T]] = {}
        # Swarms that have items and run nothing, the next one first.
        self._turns: dict[str, None] = {}
        self._busy: set[str] = set()
        self._waiting = 0

    @property
    def running(self) -> int:
        """How many run."""
        return len(self._busy)

    @property
    def waiting(self) -> int:
        """How many wait."""
        return self._waiting

    def waiting_of(self, swarm_id: str) -> int:
        """Return how many wait for a swarm."""
        return len(self._items.get(swarm_id, ()))

    def free(self, swarm_id: str, room: Room) -> bool:
        """Tell whether a swarm could begin a run at once."""
        return swarm_id not in self._busy and self.running < room.running

    def begin(self, swarm_id: str) -> None:
        """Note that a swarm runs something, which is `free`."""
        if swarm_id in self._busy:
            raise ValueError(f"{swarm_id} runs something already")
        self._busy.add(swarm_id)
        self._turns.pop(swarm_id, None)

    def join(self, swarm_id: str, item: T, room: Room) -> str:
        """Have an item wait; return why it may not, "" when it does."""
        if self.waiting_of(swarm_id) >= room.waiting_per_swarm:
            return f"{self.waiting_of(swarm_id)} runs of {swarm_id} wait, as many as may"
        if self._waiting >= room.waiting:
            return f"{self._waiting} runs wait at this server, as many as may"
        self._items.setdefault(swarm_id, deque()).append(item)
        self._waiting += 1
        if swarm_id not in self._busy:
            self._turns.setdefault(swarm_id)
        return ""

    def leave(self, swarm_id: str, item: T) -> bool:
        """Take an item out again; False when it does not wait any more."""
        items = self._items.get(swarm_id)
        if items is None or item not in items:
            return False
        items.remove(item)
        self._taken(swarm_id, items)
        if not items:
            self._turns.pop(swarm_id, None)
        return True

    def next(self, room: Room) -> tuple[str, T] | None:
        """Begin the run whose turn it is; None when there is none, or no room for it."""
        if self.running >= room.running or not self._turns:
            return None
        swarm_id = next(iter(self._turns))
        items = self._items[swarm_id]
        item = items.popleft()
        self._taken(swarm_id, items)
        self.begin(swarm_id)
        return swarm_id, item

    def done(self, swarm_id: str) -> None:
        """Note that the run of a swarm has ended."""
        self._busy.remove(swarm_id)
        if swarm_id in self._items:
            self._turns[swarm_id] = None

    def _taken(self, swarm_id: str, items: deque[T]) -> None:
        self._waiting -= 1
        if not items:
            del self._items[swarm_id]
