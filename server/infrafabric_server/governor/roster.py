"""Registered swarms, which of them are free, and the best one for a requirement."""

from collections.abc import Collection, Iterable, Iterator
from collections.abc import Set as AbstractSet
from heapq import merge
from itertools import islice
from math import inf

import numpy as np
from numpy.typing import NDArray

from infrafabric_server.governor.columns import Columns, Kind
from infrafabric_server.governor.explanation import exclusion
from infrafabric_server.governor.groups import Groups
from infrafabric_server.governor.index import CapabilityIndex
from infrafabric_server.governor.matching import DEFAULT, Comparison, score
from infrafabric_server.governor.models import CapabilityMatch, Exclusion, ExclusionRule
from infrafabric_server.governor.ranking import Merits, leaders, ties
from infrafabric_server.store.sorted_keys import SortedKeys


class Roster:
    """Swarms by capabilities and price, and the wait of those that are free; one thread only.

    Being registered and being free are independent facts, so that they may arrive in any
    order: a swarm is a candidate for work while both hold. `Merits.in_order` says which swarm
    is preferred; where all merits are equal, the longest wait decides, then the smaller id.

    Every question brings the comparison by which swarms qualify; nothing here depends on it.
    """

    def __init__(self) -> None:
        self._index = CapabilityIndex()
        self._groups: Groups[Kind, float] = Groups(self._index)
        self._columns = Columns()
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
        `reputation` is above 0 and at most 1.
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
        comparison: Comparison = DEFAULT,
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
        shared, fits = self._match(required, comparison)
        fits &= since < inf
        rows = np.flatnonzero(self._afford(fits, max_cost_per_hour_micros))
        if not len(rows):
            return None
        merits = Merits(self._columns, shared, len(required), comparison.metric)
        best = leaders(rows, [*merits.in_order(preferred_model), lambda rows: -since[rows]])
        turns = (group.first(excluded) for group in self._groups.at(best.tolist()))
        swarm_id = min(turn[1] for turn in turns if turn is not None)
        return self.describe([swarm_id], required, comparison)[0]

    def rank(
        self,
        required: frozenset[str],
        *,
        comparison: Comparison = DEFAULT,
        max_cost_per_hour_micros: int | None = None,
        preferred_model: str = "",
        limit: int = 20,
    ) -> list[CapabilityMatch]:
        """Return the best registered swarms that qualify, free or not, best first."""
        ids = self.in_order(
            required,
            comparison=comparison,
            max_cost_per_hour_micros=max_cost_per_hour_micros,
            preferred_model=preferred_model,
        )
        return self.describe(islice(ids, limit), required, comparison)

    def in_order(
        self,
        required: frozenset[str],
        *,
        comparison: Comparison = DEFAULT,
        max_cost_per_hour_micros: int | None = None,
        preferred_model: str = "",
    ) -> Iterator[str]:
        """Yield the registered swarms that qualify, free or not, best first.

        Those that do not wait come after those that do, where their merits are equal. The
        roster must not change meanwhile.
        """
        shared, fits = self._match(required, comparison)
        rows = np.flatnonzero(self._afford(fits, max_cost_per_hour_micros))
        merits = Merits(self._columns, shared, len(required), comparison.metric)
        for tie in ties(rows, merits.in_order(preferred_model)):
            queues = [group.queue for group in self._groups.at(tie.tolist())]
            for _, swarm_id in queues[0] if len(queues) == 1 else merge(*queues):
                yield swarm_id

    def describe(
        self, swarm_ids: Iterable[str], required: frozenset[str], comparison: Comparison = DEFAULT
    ) -> list[CapabilityMatch]:
        """Return how well some swarms do, ranked as they come, without those that are unknown."""
        found: list[CapabilityMatch] = []
        for swarm_id in swarm_ids:
            group = self._groups.group_of(swarm_id)
            if group is None:
                continue
            kind = group.kind
            match = comparison.match(required, kind.capabilities)
            found.append(
                CapabilityMatch(
                    swarm_id=swarm_id,
                    match=float(match),
                    score=score(match, kind.reputation, kind.cost_per_hour_micros),
                    cost_per_hour_micros=kind.cost_per_hour_micros,
                    reputation=kind.reputation,
                    rank=len(found) + 1,
                )
            )
        return found

    def qualified(
        self,
        required: frozenset[str],
        *,
        comparison: Comparison = DEFAULT,
        max_cost_per_hour_micros: int | None = None,
    ) -> Iterator[str]:
        """Yield the registered swarms that qualify, free or not, in no particular order.

        The roster must not change meanwhile.
        """
        _, fits = self._match(required, comparison)
        rows = np.flatnonzero(self._afford(fits, max_cost_per_hour_micros))
        for group in self._groups.at(rows.tolist()):
            for _, swarm_id in group.queue:
                yield swarm_id

    def qualifies(
        self,
        swarm_id: str,
        required: frozenset[str],
        *,
        comparison: Comparison = DEFAULT,
        max_cost_per_hour_micros: int | None = None,
    ) -> bool:
        """Tell whether a swarm is registered and qualifies."""
        group = self._groups.group_of(swarm_id)
        if group is None:
            return False
        kind, cap = group.kind, max_cost_per_hour_micros
        if cap is not None and kind.cost_per_hour_micros > cap:
            return False
        return comparison.qualifies(required, kind.capabilities)

    def exclusions(
        self,
        required: frozenset[str],
        *,
        comparison: Comparison = DEFAULT,
        max_cost_per_hour_micros: int | None = None,
        after: str = "",
        limit: int = 20,
    ) -> list[Exclusion]:
        """Return the registered swarms that do not qualify, with the reason, ordered by id.

        They begin after the id `after`; "" is the beginning. At most `limit` are returned.
        """
        _, fits = self._match(required, comparison)
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
                comparison=comparison,
            )
            assert reason is not None
            found.append(reason)
        return found

    def exclusion_counts(
        self,
        required: frozenset[str],
        *,
        comparison: Comparison = DEFAULT,
        max_cost_per_hour_micros: int | None = None,
    ) -> dict[ExclusionRule, int]:
        """Return how many registered swarms each rule leaves out, without those of none."""
        _, fits = self._match(required, comparison)
        affordable = self._afford(fits, max_cost_per_hour_micros)
        population = self._columns.population[: self._index.rows]
        counts = {
            ExclusionRule.CAPABILITY: int(population[~fits].sum()),
            ExclusionRule.COST: int(population[fits & ~affordable].sum()),
        }
        return {rule: count for rule, count in counts.items() if count}

    def cheapest(self, required: frozenset[str], *, comparison: Comparison = DEFAULT) -> int | None:
        """Return what an hour of the cheapest registered swarm costs that qualifies, free or not.

        It is in micro-US-dollars; None when no swarm qualifies.
        """
        _, fits = self._match(required, comparison)
        prices = self._columns.cost[: len(fits)][fits]
        return int(prices.min()) if len(prices) else None

    def _match(
        self, required: frozenset[str], comparison: Comparison
    ) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Return for each row what it shares with the requirement, and whether it matches."""
        shared = self._index.shared(required)
        return shared, self._index.matching(required, shared, comparison)

    def _afford(self, fits: NDArray[np.bool_], cap: int | None) -> NDArray[np.bool_]:
        return fits if cap is None else fits & (self._columns.cost[: len(fits)] <= cap)

    def _waits(self, excluded: AbstractSet[str]) -> NDArray[np.float64]:
        """Return since when the first member of each row waits that is not excluded."""
        since = self._columns.since[: self._index.rows]
        passing = self._groups.passing_over(excluded)
        if passing:
            since = since.copy()
            for row, first in passing:
                since[row] = inf if first is None else first[0]
        return since
