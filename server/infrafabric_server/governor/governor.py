"""IFGovernor: which swarm is right for a task, and why.

GovernorService ── find_qualified_swarm ──▶ Governor ──▶ Qualifying ──▶ Roster, Screening
view of swarms/ ── registered, changed, gone ──▶ Governor ──▶ Roster
Reputations ── changed ──▶ Governor ──▶ Roster
coordinator ── free, not free; best ──▶ Roster
"""

from collections.abc import Collection
from typing import Protocol

from infrafabric_server.errors import FieldViolation, InvalidField
from infrafabric_server.fleet.models import SwarmProfile
from infrafabric_server.governor.gate import TaskFacts
from infrafabric_server.governor.matching import Metric
from infrafabric_server.governor.models import Page, Qualification
from infrafabric_server.governor.policy.book import PolicyBook
from infrafabric_server.governor.qualifying import Qualifying, Question
from infrafabric_server.governor.reputation import Alike, Reputations
from infrafabric_server.governor.roster import Roster
from infrafabric_server.governor.screening import Screening
from infrafabric_server.limits import MAX_CAPABILITIES
from infrafabric_server.store.view import Change, View


class IFGovernor(Protocol):
    """The right swarm for the work."""

    async def find_qualified_swarm(
        self,
        required_caps: Collection[str],
        max_cost: int | None = None,
        *,
        max_task_cost: int | None = None,
        metric: Metric | None = None,
        explain: Page | None = None,
    ) -> Qualification:
        """Return the best registered swarm for a set of capabilities, with a session or not.

        Swarms that may not be given the task now are left out: see ExclusionRule.

        Args:
            required_caps: What the swarm should be able to do, at most 64; none suits all.
            max_cost: Most that an hour of it may cost, in micro-US-dollars; None: no limit.
            max_task_cost: What the task may cost in total; None: the policy's default.
            metric: How capabilities are compared; None: as the policy says.
            explain: Which of the swarms that were left out the answer lists; with them come
                the 20 best candidates, and how many swarms each rule left out.

        Returns:
            The answer; its `best` is None when no swarm qualifies.

        Raises:
            InvalidField: There are more than 64 capabilities.
        """
        ...


class Governor:
    """IFGovernor over the registrations in the store, which it enters in the roster."""

    def __init__(
        self,
        swarms: View[SwarmProfile],
        roster: Roster,
        screening: Screening,
        policies: PolicyBook,
        reputations: Reputations | None = None,
    ) -> None:
        """Enter what is registered in the roster, and follow all changes until `close`.

        Without `reputations` all swarms have the same.
        """
        self._swarms = swarms
        self._reputations = reputations or Alike()
        self._roster = roster
        self._screening = screening
        self._policies = policies
        self._qualifying = Qualifying(roster)
        for swarm_id, profile in swarms.items():
            self._enter(swarm_id, profile)
        self._unsubscribe = swarms.subscribe(self._changed)
        self._reputations.subscribe(self._judged)

    def close(self) -> None:
        """Follow no more changes."""
        self._unsubscribe()

    async def find_qualified_swarm(
        self,
        required_caps: Collection[str],
        max_cost: int | None = None,
        *,
        max_task_cost: int | None = None,
        metric: Metric | None = None,
        explain: Page | None = None,
    ) -> Qualification:
        """Return the best registered swarm; see IFGovernor."""
        required = frozenset(required_caps)
        if len(required) > MAX_CAPABILITIES:
            rule = f"must have at most {MAX_CAPABILITIES} entries"
            raise InvalidField(FieldViolation("required_capabilities", rule))
        policy = self._policies.current.policy
        matching = policy.matching_for("", required)
        comparison = matching.comparison if metric is None else matching.comparisons[metric]
        default = policy.budgets_for("", required).default_micros
        facts = TaskFacts(
            task_id="",
            title="",
            required_capabilities=required,
            priority=0,
            filler=False,
            preferred_model="",
            estimated_duration=None,
            max_cost_micros=max_task_cost,
            amount_micros=default if max_task_cost is None else max_task_cost,
            spent_micros=0,
            attempt=1,
            failures=0,
        )
        question = Question(required, max_cost, comparison, self._screening.of(facts))
        if explain is None:
            return await self._qualifying.best(question)
        return await self._qualifying.explain(question, explain)

    def _changed(self, change: Change[SwarmProfile]) -> None:
        if change.new is None:
            self._roster.remove(change.id)
        else:
            self._enter(change.id, change.new)

    def _judged(self, swarm_id: str) -> None:
        profile = self._swarms.get(swarm_id)
        if profile is not None and swarm_id in self._roster:
            self._enter(swarm_id, profile)

    def _enter(self, swarm_id: str, profile: SwarmProfile) -> None:
        self._roster.put(
            swarm_id,
            profile.capabilities,
            profile.cost_per_hour_micros,
            profile.model,
            self._reputations.of(swarm_id),
        )
