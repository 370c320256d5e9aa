"""Why an assignment by hand finds nobody."""

from collections.abc import Mapping

from infrafabric_server.coordinator.admission import Admission
from infrafabric_server.coordinator.capacity import Capacity
from infrafabric_server.coordinator.models import Task
from infrafabric_server.coordinator.scheduler import Scheduler
from infrafabric_server.governor.budget.rules import BudgetFacts
from infrafabric_server.governor.matching import hourly_cap
from infrafabric_server.governor.models import ExclusionRule
from infrafabric_server.governor.policy.book import PolicyBook
from infrafabric_server.governor.qualifying import Qualifying, Question
from infrafabric_server.governor.screening import Refusal, Screening


class Unassigned:
    """Counts the swarms that may not be given a task now, by the first rule that says so."""

    def __init__(
        self,
        capacity: Capacity,
        scheduler: Scheduler,
        admission: Admission,
        screening: Screening,
        policies: PolicyBook,
    ) -> None:
        self._capacity = capacity
        self._scheduler = scheduler
        self._admission = admission
        self._screening = screening
        self._policies = policies
        self._qualifying = Qualifying(capacity.roster)

    async def counts(self, task: Task) -> Mapping[ExclusionRule, int]:
        """Return how many registered swarms each rule leaves out, without those of none."""
        spec = task.spec
        account = BudgetFacts(
            f"task/{task.task_id}", task.budget_limit_micros, task.spent_micros, 0
        )
        screened = self._screening.of(self._admission.facts(task), account)

        def refusal(swarm_id: str) -> Refusal | None:
            return screened(swarm_id) or self._unready(swarm_id, task)

        required = spec.required_capabilities
        question = Question(
            required,
            hourly_cap(spec.max_cost_micros, spec.estimated_duration),
            self._policies.current.policy.matching_for(task.task_id, required).comparison,
            refusal,
        )
        return await self._qualifying.counts(question)

    def _unready(self, swarm_id: str, task: Task) -> Refusal | None:
        if self._scheduler.has_refused(swarm_id, task.task_id):
            return Refusal(ExclusionRule.NO_SESSION, "has given this task back")
        if self._capacity.availability(swarm_id).allows(task):
            return None
        return Refusal(ExclusionRule.NO_SESSION, "has no session that takes such a task now")
