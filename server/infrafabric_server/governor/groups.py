"""Members that are alike to the index share one row of it, and queue in it."""

from bisect import bisect_left, insort
from collections.abc import Hashable, Iterable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from infrafabric_server.governor.index import CapabilityIndex

K = TypeVar("K", bound=Hashable)
"""What makes members alike."""

Place = TypeVar("Place", int, float)
"""Where a member stands in its queue; smaller goes first, equal places by id."""


@dataclass(slots=True, eq=False)
class Group(Generic[K, Place]):
    """The members of one row, in the order of their turn."""

    kind: K
    capabilities: frozenset[str]
    row: int
    queue: list[tuple[Place, str]] = field(default_factory=list)

    def first(self, excluded: AbstractSet[str] = frozenset()) -> tuple[Place, str] | None:
        """Return the place and id of the first member that is not excluded, or None."""
        for turn in self.queue:
            if turn[1] not in excluded:
                return turn
        return None


class Groups(Generic[K, Place]):
    """Members by id and groups by row.

    A queue is a sorted list: a change moves at most 8 bytes per member, which takes 10 µs
    for 100,000 of them.
    """

    def __init__(self, index: CapabilityIndex) -> None:
        self._index = index
        self._groups: dict[K, Group[K, Place]] = {}
        self._by_row: dict[int, Group[K, Place]] = {}
        self._members: dict[str, Group[K, Place]] = {}
        self._places: dict[str, Place] = {}

    def __len__(self) -> int:
        return len(self._members)

    def __contains__(self, member_id: object) -> bool:
        return member_id in self._members

    def __iter__(self) -> Iterator[Group[K, Place]]:
        return iter(self._by_row.values())

    def group_of(self, member_id: str) -> Group[K, Place] | None:
        """Return the group of a member, or None for an unknown id."""
        return self._members.get(member_id)

    def at(self, rows: Iterable[int]) -> list[Group[K, Place]]:
        """Return the groups of rows that are in use."""
        return [self._by_row[row] for row in rows]

    def passing_over(
        self, excluded: AbstractSet[str]
    ) -> list[tuple[int, tuple[Place, str] | None]]:
        """Return the rows whose first member is excluded, with the first that is not, or None."""
        groups = set(map(self._members.get, excluded))
        return [
            (group.row, group.first(excluded))
            for group in groups
            if group is not None and group.queue[0][1] in excluded
        ]

    def put(
        self,
        member_id: str,
        kind: K,
        capabilities: frozenset[str],
        place: Place,
        *,
        always: bool = False,
    ) -> Group[K, Place]:
        """Enter a member that is not there; `always` as in the index. Return its group."""
        group = self._groups.get(kind)
        if group is None:
            group = Group(kind, capabilities, self._index.add(capabilities, always=always))
            self._groups[kind] = group
            self._by_row[group.row] = group
        self._members[member_id] = group
        self._enter(group, member_id, place)
        return group

    def move(self, member_id: str, place: Place) -> Group[K, Place]:
        """Give a member another place in its queue; return its group."""
        group = self._leave(member_id)
        self._enter(group, member_id, place)
        return group

    def remove(self, member_id: str) -> Group[K, Place]:
        """Take a member out; return its group, whose row is vacant if the queue is empty."""
        group = self._leave(member_id)
        del self._members[member_id]
        if not group.queue:
            del self._groups[group.kind]
            del self._by_row[group.row]
            self._index.discard(group.row, group.capabilities)
        return group

    def _enter(self, group: Group[K, Place], member_id: str, place: Place) -> None:
        insort(group.queue, (place, member_id))
        self._places[member_id] = place

    def _leave(self, member_id: str) -> Group[K, Place]:
        group = self._members[member_id]
        del group.queue[bisect_left(group.queue, (self._places.pop(member_id), member_id))]
        return group
