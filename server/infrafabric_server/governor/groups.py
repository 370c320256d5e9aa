"""Members of the same kind share one row of the index, in which they queue."""

from bisect import bisect_left, insort
from collections.abc import Hashable, Iterable
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
        self._by_row: list[Group[K, Place] | None] = []
        self._members: dict[str, tuple[Group[K, Place], Place]] = {}

    def __len__(self) -> int:
        return len(self._members)

    def __contains__(self, member_id: object) -> bool:
        return member_id in self._members

    def group_of(self, member_id: str) -> Group[K, Place] | None:
        """Return the group of a member, or None for an unknown id."""
        member = self._members.get(member_id)
        return None if member is None else member[0]

    def at(self, rows: Iterable[int]) -> list[Group[K, Place]]:
        """Return the groups of these rows, as far as they are in use."""
        return [group for row in rows if (group := self._by_row[row]) is not None]

    def passing_over(
        self, excluded: AbstractSet[str]
    ) -> list[tuple[int, tuple[Place, str] | None]]:
        """Return the rows whose first member is excluded, with the first that is not, or None."""
        known = self._members.get
        groups = {member[0] for id_ in excluded if (member := known(id_)) is not None}
        return [
            (group.row, group.first(excluded)) for group in groups if group.queue[0][1] in excluded
        ]

    def put(
        self, member_id: str, kind: K, capabilities: frozenset[str], place: Place
    ) -> Group[K, Place]:
        """Enter a member that is not there; return its group."""
        group = self._groups.get(kind)
        if group is None:
            group = Group(kind, capabilities, self._index.add(capabilities))
            self._groups[kind] = group
            if group.row == len(self._by_row):
                self._by_row.append(None)
            self._by_row[group.row] = group
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
        if not group.queue:
            del self._groups[group.kind]
            self._by_row[group.row] = None
            self._index.discard(group.row, group.capabilities)
        return group

    def _enter(self, group: Group[K, Place], member_id: str, place: Place) -> None:
        insort(group.queue, (place, member_id))
        self._members[member_id] = (group, place)

    def _leave(self, member_id: str) -> Group[K, Place]:
        group, place = self._members.pop(member_id)
        del group.queue[bisect_left(group.queue, (place, member_id))]
        return group
