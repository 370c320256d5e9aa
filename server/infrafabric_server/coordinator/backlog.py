"""Tasks that wait for a swarm, and the one that a swarm should take first."""

from collections.abc import Collection
from collections.abc import Set as AbstractSet

import numpy as np

from infrafabric_server.governor.groups import Groups
from infrafabric_server.governor.index import CapabilityIndex
from infrafabric_server.governor.matching import DEFAULT, Comparison

# A task's turn is one number: priority, revision and position side by side in 63 bits, so
# that the first of 100,000 rows is found in one sweep.
_PRIORITIES = 1_000
_REVISION_BITS = 42
_POSITION_BITS = 10
_NOBODY = np.iinfo(np.int64).max
_NO_CAP = np.iinfo(np.int64).max


def turn(priority: int, age: tuple[int, int]) -> int:
    """Return the task's place: the higher priority first, then the smaller age.

    `priority` is -1000 to 1000. `age` is the revision that created the task, which fits
    42 bits (139 years of 1,000 writes a second), and its position on its board, below
    1,024. Raises ValueError for anything else.
    """
    revision, position = age
    if not (
        -_PRIORITIES <= priority <= _PRIORITIES
        and 0 <= revision < 1 << _REVISION_BITS
        and 0 <= position < 1 << _POSITION_BITS
    ):
        raise ValueError(f"priority {priority}, age {age}: out of range")
    return ((_PRIORITIES - priority) << _REVISION_BITS | revision) << _POSITION_BITS | position


class Backlog:
    """Waiting tasks, by what they require and what an hour may cost; one thread only.

    C12: a swarm is given the task of the highest priority that it qualifies for, the oldest
    of these, and the one of the smaller id if even their ages are equal.
    """

    def __init__(self) -> None:
        self._index = CapabilityIndex(of_requirements=True)
        self._groups: Groups[tuple[frozenset[str], int], int] = Groups(self._index)
        self._firsts = np.full(1024, _NOBODY, np.int64)
        self._caps = np.zeros(1024, np.int64)

    def __len__(self) -> int:
        return len(self._groups)

    def __contains__(self, task_id: object) -> bool:
        return task_id in self._groups

    def put(
        self,
        task_id: str,
        required: frozenset[str],
        *,
        priority: int,
        age: tuple[int, int],
        max_cost_per_hour_micros: int | None = None,
    ) -> None:
        """Let a task wait; one that waits already is entered anew.

        `required` has at most 64 capabilities; a task that requires none suits every swarm.
        `priority` and `age` are those of `turn`. A swarm whose cost per hour is above
        `max_cost_per_hour_micros` is not given the task; None means no limit.
        """
        place = turn(priority, age)
        self.remove(task_id)
        cap = _NO_CAP if max_cost_per_hour_micros is None else max_cost_per_hour_micros
        kind = (required, min(cap, _NO_CAP))
        group = self._groups.put(task_id, kind, required, place)
        if group.row >= len(self._firsts):
            self._firsts = np.concatenate([self._firsts, np.full_like(self._firsts, _NOBODY)])
            self._caps = np.concatenate([self._caps, np.zeros_like(self._caps)])
        self._firsts[group.row] = group.queue[0][0]
        self._caps[group.row] = kind[1]

    def remove(self, task_id: str) -> None:
        """Let a task wait no longer; an unknown id changes nothing."""
        if task_id in self._groups:
            group = self._groups.remove(task_id)
            self._firsts[group.row] = group.queue[0][0] if group.queue else _NOBODY

    def best_for(
        self,
        capabilities: frozenset[str],
        cost_per_hour_micros: int,
        *,
        comparison: Comparison = DEFAULT,
        excluding: Collection[str] = (),
    ) -> str | None:
        """Return the id of the task that a swarm should take first, or None; it stays here.

        `comparison` says for which tasks the swarm qualifies. `excluding` names tasks that are
        not to be considered; it costs time in its length.
        """
        if not self._groups:
            return None
        excluded = excluding if isinstance(excluding, AbstractSet) else frozenset(excluding)
        used = self._index.rows
        fits = self._index.matching(capabilities, self._index.shared(capabilities), comparison)
        fits &= self._caps[:used] >= cost_per_hour_micros
        rows = np.flatnonzero(fits)
        places = self._firsts[rows]
        passed = [
            (row, _NOBODY if first is None else first[0])
            for row, first in self._groups.passing_over(excluded)
            if fits[row]
        ]
        if passed:
            passed_rows, next_places = np.array(passed, np.int64).T
            places[np.searchsorted(rows, passed_rows)] = next_places
        if not len(rows) or (place := places.min()) == _NOBODY:
            return None
        ties = self._groups.at(rows[places == place].tolist())
        return min(first[1] for group in ties if (first := group.first(excluded)) is not None)
