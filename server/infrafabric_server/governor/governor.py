"""IFGovernor: which swarm is right for a task, and why.

GovernorService ── find_qualified_swarm ──▶ Governor ──▶ Roster ──▶ CapabilityIndex
view of swarms/ ── registered, changed, gone ──▶ Governor ──▶ Roster
coordinator ── free, not free; best ──▶ Roster
"""

from collections.abc import Collection
from typing import Protocol

from infrafabric_server.errors import FieldViolation, InvalidField
from infrafabric_server.fleet.models import SwarmProfile
from infrafabric_server.governor.models import Qualification
from infrafabric_server.governor.roster import Roster
from infrafabric_server.limits import MAX_CAPABILITIES
from infrafabric_server.store.view import Change, View

MAX_CANDIDATES = 20
"""Most candidates that an explanation lists."""


class IFGovernor(Protocol):
    """The right swarm for the work."""

    def find_qualified_swarm(
        self,
        required_caps: Collection[str],
        max_cost: int | None = None,
        *,
        explain: bool = False,
        after: str = "",
        limit: int = 20,
    ) -> Qualification:
        """Return the best registered swarm for a set of capabilities, with a session or not.

        Args:
            required_caps: What the swarm should be able to do, at most 64; none suits all.
            max_cost: Most that an hour of it may cost, in micro-US-dollars; None: no limit.
            explain: Whether to add the 20 best candidates, the swarms that were left out
                and how many each rule left out.
            after: The id after which the exclusions begin; "" for the first page.
            limit: Most exclusions in the answer.

        Returns:
            The answer; its `best` is None when no swarm qualifies.

        Raises:
            InvalidField: There are more than 64 capabilities.
        """
        ...


class Governor:
    """IFGovernor over the registrations in the store, which it enters in the roster."""

    def __init__(self, swarms: View[SwarmProfile], roster: Roster) -> None:
        """Enter what is registered in the roster, and follow all changes until `close`."""
        self._roster = roster
        for swarm_id, profile in swarms.items():
            self._enter(swarm_id, profile)
        self._unsubscribe = swarms.subscribe(self._changed)

    def close(self) -> None:
        """Follow no more changes."""
        self._unsubscribe()

    def find_qualified_swarm(
        self,
        required_caps: Collection[str],
        max_cost: int | None = None,
        *,
        explain: bool = False,
        after: str = "",
        limit: int = 20,
    ) -> Qualification:
        """Return the best registered swarm; see IFGovernor."""
        required = frozenset(required_caps)
        if len(required) > MAX_CAPABILITIES:
            rule = f"must have at most {MAX_CAPABILITIES} entries"
            raise InvalidField(FieldViolation("required_capabilities", rule))
        candidates = self._roster.rank(
            required,
            max_cost_per_hour_micros=max_cost,
            limit=MAX_CANDIDATES if explain else 1,
        )
        best = candidates[0] if candidates else None
        if not explain:
            return Qualification(best=best)
        excluded = self._roster.exclusions(
            required, max_cost_per_hour_micros=max_cost, after=after, limit=limit + 1
        )
        return Qualification(
            best=best,
            candidates=tuple(candidates),
            excluded=tuple(excluded[:limit]),
            exclusion_counts=self._roster.exclusion_counts(
                required, max_cost_per_hour_micros=max_cost
            ),
            next_after=excluded[limit - 1].swarm_id if len(excluded) > limit else "",
        )

    def _changed(self, change: Change[SwarmProfile]) -> None:
        if change.new is None:
            self._roster.remove(change.id)
        else:
            self._enter(change.id, change.new)

    def _enter(self, swarm_id: str, profile: SwarmProfile) -> None:
        self._roster.put(
            swarm_id, profile.capabilities, profile.cost_per_hour_micros, profile.model
        )
