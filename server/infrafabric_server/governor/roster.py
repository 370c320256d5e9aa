"""Registered swarms, which of them are free, and the best one for a requirement."""

from collections.abc import Collection, Iterator
from collections.abc import Set as AbstractSet
from fractions import Fraction
from heapq import nsmallest
from itertools import chain
from math import inf
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from infrafabric_server.governor.explanation import exclusion
from infrafabric_server.governor.groups import Group, Groups
from infrafabric_server.governor.index import CapabilityIndex
from infrafabric_server.governor.matching import MIN_MATCH, qualifies
from infrafabric_server.governor.models import CapabilityMatch, Exclusion, ExclusionRule
from infrafabric_server.governor.ranking import Floats, Ranking
from infrafabric_server.store.sorted_keys import SortedKeys

Rows = NDArray[np.intp]


class Kind(NamedTuple):
    """What the ranking knows of a swarm; swarms of one kind differ by their wait alone."""

    capabilities: frozenset[str]
    cost_per_hour_micros: int
    model: str
    reputation: float


class _Columns:
    """What is known of each row of the index, as arrays."""

    def __init__(self) -> None:
        self.population = np.zeros(1024, np.int64)
        self.since = np.zeros(1024, np.float64)
        self.size = np.zeros(1024, np.int64)
        self.cost = np.zeros(1024, np.int64)
        self.reputation = np.zeros(1024, np.float64)
        self.model = np.zeros(1024, np.object_)

    def write(self, group: Group[Kind, float]) -> None:
        """Bring the row of a group up to date, after its queue changed in any way."""
        row, kind = group.row, group.kind
        if row >= len(self.population):
            for name, column in vars(self).items():
                setattr(self, name, np.concatenate([column, np.zeros_like(column)]))
        self.population[row] = len(group.queue)
        self.since[row] = group.queue[0][0] if group.queue else inf
        self.size[row] = len(kind.capabilities)
        self.cost[row] = kind.cost_per_hour_micros
        self.reputation[row] = kind.reputation
        self.model[row] = kind.model


class Roster:
    """Swarms by capabilities and price, and the wait of those that are free; one thread only.

    Being registered and being free are independent facts, so that they may arrive in any
    order: a swarm is a candidate for work while both hold. The order in which swarms are
    preferred is that of `Ranking`; where all merits are equal, the longest wait decides, and
    then the smaller id.
    """

    def __init__(self, threshold: Fraction = MIN_MATCH) -> None:
        """Start empty; `threshold` is the least match with which a swarm qualifies."""
        self._threshold = threshold
        self._index = CapabilityIndex(threshold)
        self._groups: Groups[Kind, float] = Groups(self._index)
        self._columns = _Columns()
        self._since: dict[str, float] = {}
        self._ids = SortedKeys()
        self._free = 0

    def __len__(self) -> int:
        return len(self._groups)

    def __contains__(self, swarm_id: object) -> bool:
        return swarm_id in self._groups

    @property
    def free_count(self) -> int:
        """How many registered swarms are free."""
        return self._free

    def put(
        self,
        swarm_id: str,
        capabilities: frozenset[str],
        cost_per_hour_micros: int,
        model: str,
        reputation: float = 1.0,
    ) -> None:
        """Register a swarm, or change what is known of it.

        It has at most 64 capabilities, and costs 0 to 10^12 micro-US-dollars an hour;
        `reputation` is at least 0.
        """
        kind = Kind(capabilities, cost_per_hour_micros, model, reputation)
        group = self._groups.group_of(swarm_id)
        if group is not None and group.kind == kind:
            return
        self.remove(swarm_id)
        since = self._since.get(swarm_id)
        place = inf if since is None else since
        self._columns.write(self._groups.put(swarm_id, kind, capabilities, place))
        self._ids.add(swarm_id)
        self._free += since is not None

    def remove(self, swarm_id: str) -> None:
        """End a registration; an unknown id changes nothing."""
        if swarm_id in self._groups:
            self._columns.write(self._groups.remove(swarm_id))
            self._ids.remove(swarm_id)
            self._free -= swarm_id in self._since

    def set_free(self, swarm_id: str, since: float | None) -> None:
        """Note since when a swarm waits for work, any ordered number; None if it does not."""
        was = self._since.get(swarm_id)
        if since == was:
            return
        if since is None:
            del self._since[swarm_id]
        else:
            self._since[swarm_id] = since
        if swarm_id in self._groups:
            self._columns.write(self._groups.move(swarm_id, inf if since is None else since))
            self._free += (since is not None) - (was is not None)

    def best(
        self,
        required: frozenset[str],
        *,
        max_cost_per_hour_micros: int | None = None,
        preferred_model: str = "",
        excluding: Collection[str] = (),
    ) -> CapabilityMatch | None:
        """Return the best free swarm that qualifies, or None.

        `max_cost_per_hour_micros` of None means no limit. Among equal scores a swarm of
        `preferred_model` goes first; "" prefers none. `excluding` names swarms that are not
        to be considered; it costs time in its length.
        """
        if not self._free:
            return None
        excluded = excluding if isinstance(excluding, AbstractSet) else frozenset(excluding)
        since = self._waits(excluded)
        shared, fits = self._match(required)
        fits &= since < inf
        rows = np.flatnonzero(self._afford(fits, max_cost_per_hour_micros))
        if not len(rows):
            return None
        ranking = self._rank(rows, required, shared, preferred_model)
        leaders = ranking.leaders(since[rows])
        turns = (group.first(excluded) for group in self._groups.at(rows[leaders].tolist()))
        swarm_id = min(turn[1] for turn in turns if turn is not None)
        return self._result(swarm_id, ranking, leaders[0], 1)

    def rank(
        self,
        required: frozenset[str],
        *,
        max_cost_per_hour_micros: int | None = None,
        preferred_model: str = "",
        limit: int = 20,
    ) -> list[CapabilityMatch]:
        """Return the best registered swarms that qualify, free or not, best first.

        Those that do not wait come after those that do, where their merits are equal.
        """
        shared, fits = self._match(required)
        rows = np.flatnonzero(self._afford(fits, max_cost_per_hour_micros))
        ranking = self._rank(rows, required, shared, preferred_model)
        found: list[CapabilityMatch] = []
        for tie in ranking.ties():
            left = limit - len(found)
            if not left or not len(tie):
                break
            groups = self._groups.at(rows[tie].tolist())
            turns = chain.from_iterable(group.queue[:left] for group in groups)
            for rank, (_, swarm_id) in enumerate(nsmallest(left, turns), len(found) + 1):
                found.append(self._result(swarm_id, ranking, tie[0], rank))
        return found

    def qualified(
        self, required: frozenset[str], *, max_cost_per_hour_micros: int | None = None
    ) -> Iterator[str]:
        """Yield the registered swarms that qualify, free or not, in no particular order.

        The roster must not change meanwhile.
        """
        _, fits = self._match(required)
        rows = np.flatnonzero(self._afford(fits, max_cost_per_hour_micros))
        for group in self._groups.at(rows.tolist()):
            for _, swarm_id in group.queue:
                yield swarm_id

    def qualifies(
        self,
        swarm_id: str,
        required: frozenset[str],
        *,
        max_cost_per_hour_micros: int | None = None,
    ) -> bool:
        """Tell whether a swarm is registered and qualifies."""
        group = self._groups.group_of(swarm_id)
        if group is None:
            return False
        kind, cap = group.kind, max_cost_per_hour_micros
        if cap is not None and kind.cost_per_hour_micros > cap:
            return False
        return qualifies(required, kind.capabilities, threshold=self._threshold)

    def exclusions(
        self,
        required: frozenset[str],
        *,
        max_cost_per_hour_micros: int | None = None,
        after: str = "",
        limit: int = 20,
    ) -> list[Exclusion]:
        """Return the registered swarms that do not qualify, with the reason, ordered by id.

        They begin after the id `after`; "" is the beginning. At most `limit` are returned.
        """
        _, fits = self._match(required)
        fits = self._afford(fits, max_cost_per_hour_micros)
        found: list[Exclusion] = []
        for swarm_id in self._ids.after(after):
            if len(found) == limit:
                break
            group = self._groups.group_of(swarm_id)
            assert group is not None
            if fits[group.row]:
                continue
            reason = exclusion(
                swarm_id,
                group.kind.capabilities,
                group.kind.cost_per_hour_micros,
                required=required,
                max_cost_per_hour_micros=max_cost_per_hour_micros,
                threshold=self._threshold,
            )
            assert reason is not None
            found.append(reason)
        return found

    def exclusion_counts(
        self, required: frozenset[str], *, max_cost_per_hour_micros: int | None = None
    ) -> dict[ExclusionRule, int]:
        """Return how many registered swarms each rule leaves out, without those of none."""
        _, fits = self._match(required)
        affordable = self._afford(fits, max_cost_per_hour_micros)
        population = self._columns.population[: self._index.rows]
        counts = {
            ExclusionRule.CAPABILITY: int(population[~fits].sum()),
            ExclusionRule.COST: int(population[fits & ~affordable].sum()),
        }
        return {rule: count for rule, count in counts.items() if count}

    def _match(self, required: frozenset[str]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Return for each row what it shares with the requirement, and whether it matches."""
        if not required:
            used = self._index.rows
            return np.zeros(used, np.uint8), self._columns.population[:used] > 0
        shared = self._index.shared(required)
        return shared, self._index.matching(required, shared)

    def _afford(self, fits: NDArray[np.bool_], cap: int | None) -> NDArray[np.bool_]:
        return fits if cap is None else fits & (self._columns.cost[: len(fits)] <= cap)

    def _waits(self, excluded: AbstractSet[str]) -> Floats:
        """Return since when the first member of each row waits that is not excluded."""
        since = self._columns.since[: self._index.rows]
        passed = self._groups.touched(excluded)
        if passed:
            since = since.copy()
            for group in passed:
                first = group.first(excluded)
                since[group.row] = inf if first is None else first[0]
        return since

    def _rank(
        self, rows: Rows, required: frozenset[str], shared: NDArray[np.uint8], preferred_model: str
    ) -> Ranking:
        columns = self._columns
        preferred = np.zeros(len(rows), np.bool_)
        if preferred_model:
            preferred = columns.model[rows] == preferred_model
        if required:
            both = shared[rows]
            either = len(required) + columns.size[rows] - both
        else:
            both, either = np.ones(len(rows), np.uint8), np.ones(len(rows), np.int64)
        return Ranking.of(both, either, columns.reputation[rows], columns.cost[rows], preferred)

    def _result(self, swarm_id: str, ranking: Ranking, at: np.intp, rank: int) -> CapabilityMatch:
        group = self._groups.group_of(swarm_id)
        assert group is not None
        return CapabilityMatch(
            swarm_id=swarm_id,
            match=float(ranking.match[at]),
            score=float(ranking.score[at]),
            cost_per_hour_micros=group.kind.cost_per_hour_micros,
            rank=rank,
        )
