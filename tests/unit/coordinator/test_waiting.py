"""G8, C12: of waiting tasks a swarm gets the first that it qualifies for by the task's override."""

from datetime import UTC, datetime
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from infrafabric_server.coordinator.models import Dispatch, Task, TaskSpec, TaskState
from infrafabric_server.coordinator.waiting import Age, Waiting
from infrafabric_server.fleet.models import SwarmProfile
from infrafabric_server.governor.matching import MICROS
from infrafabric_server.governor.policy.book import PolicyBook
from infrafabric_server.governor.policy.models import Policy
from infrafabric_server.governor.policy.verdicts import effective
from tests.unit.coordinator.test_backlog import ages, ids, sets

NOW = datetime(2030, 1, 1, tzinfo=UTC)
MATCHINGS: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {},
    optional={
        "metric": st.sampled_from(["jaccard", "coverage"]),
        "min_match": st.sampled_from([0.5, 0.7, 1.0]),
    },
)
OVERRIDES: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {"matching": MATCHINGS},
    optional={"tasks": st.sampled_from(["task-1", "task-[0-4]", "*"])},
).flatmap(
    lambda given: (
        st.just(given)
        if "tasks" in given
        else st.sampled_from("abc*").map(lambda glob: {**given, "capability": glob})
    )
)


class WaitingMachine(RuleBasedStateMachine):
    """Tasks come and go, policies change; swarms of every kind ask."""

    def __init__(self) -> None:
        super().__init__()
        self.policies = PolicyBook()
        self.waiting = Waiting(self.policies)
        self.tasks: dict[str, tuple[Task, Age]] = {}

    @rule(task_id=ids, required=sets, priority=st.integers(-1, 1), age=ages)
    def put(self, task_id: str, required: frozenset[str], priority: int, age: Age) -> None:
        spec = TaskSpec(
            task_id=task_id,
            required_capabilities=required,
            priority=priority,
            create_time=NOW,
            position=0,
        )
        task = Task(spec=spec, state=TaskState.AVAILABLE, dispatch=Dispatch.AUTO)
        self.waiting.put(task, age)
        self.tasks[task_id] = task, age

    @rule(task_id=ids)
    def remove(self, task_id: str) -> None:
        self.waiting.remove(task_id)
        self.tasks.pop(task_id, None)

    @rule(matching=MATCHINGS, overrides=st.lists(OVERRIDES, max_size=3))
    def change(self, matching: dict[str, Any], overrides: list[dict[str, Any]]) -> None:
        policy = Policy.model_validate({"matching": matching, "overrides": overrides})
        self.policies.install(effective(policy, "cafe"))

    @rule(most=st.integers(1, 3))
    def sort(self, most: int) -> None:
        self.waiting.sort(most)

    @rule(can=sets, excluding=st.sets(ids, max_size=4))
    def best_for(self, can: frozenset[str], excluding: set[str]) -> None:
        policy = self.policies.current.policy
        able = [
            ((-task.spec.priority, age, name), name)
            for name, (task, age) in self.tasks.items()
            if name not in excluding
            and policy.matching_for(name, task.spec.required_capabilities).comparison.qualifies(
                task.spec.required_capabilities, can
            )
        ]
        swarm = SwarmProfile(
            swarm_id="s",
            capabilities=can,
            cost_per_hour_micros=MICROS,
            create_time=NOW,
            update_time=NOW,
        )
        found = self.waiting.best_for(swarm, excluding)
        assert found is None or found in {name for _, name in able}, "not even while it sorts"
        while not self.waiting.sort(3):
            pass
        assert self.waiting.best_for(swarm, excluding) == (min(able)[1] if able else None)

    @invariant()
    def counts(self) -> None:
        assert len(self.waiting) == len(self.tasks)
        assert all(task_id in self.waiting for task_id in self.tasks)


TestWaiting = WaitingMachine.TestCase
TestWaiting.settings = settings(max_examples=80, stateful_step_count=40)
