"""C12: over any history the backlog names the task that the rule says."""

from dataclasses import dataclass
from fractions import Fraction

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from infrafabric_server.coordinator.backlog import Backlog, turn
from infrafabric_server.governor.matching import Comparison, Metric

ids = st.sampled_from([f"task-{n}" for n in range(10)])
sets = st.frozensets(st.sampled_from("abcde"), max_size=5)
ages = st.tuples(st.integers(0, 3), st.integers(0, 2))
caps = st.none() | st.sampled_from([0, 5, 10**30])


@dataclass
class Waiting:
    """What the plain model knows of a waiting task."""

    required: frozenset[str]
    order: tuple[int, tuple[int, int], str]
    cap: int | None


class BacklogMachine(RuleBasedStateMachine):
    """Tasks come, move and go; swarms of every kind ask."""

    def __init__(self) -> None:
        super().__init__()
        self.backlog = Backlog()
        self.tasks: dict[str, Waiting] = {}

    @rule(task_id=ids, required=sets, priority=st.integers(-1, 1), age=ages, cap=caps)
    def put(
        self,
        task_id: str,
        required: frozenset[str],
        priority: int,
        age: tuple[int, int],
        cap: int | None,
    ) -> None:
        self.backlog.put(
            task_id, required, priority=priority, age=age, max_cost_per_hour_micros=cap
        )
        self.tasks[task_id] = Waiting(required, (-priority, age, task_id), cap)

    @rule(task_id=ids)
    def remove(self, task_id: str) -> None:
        self.backlog.remove(task_id)
        self.tasks.pop(task_id, None)

    @rule(
        capabilities=sets,
        cost=st.sampled_from([0, 5, 6]),
        metric=st.sampled_from(Metric),
        threshold=st.sampled_from([Fraction(7, 10), Fraction(1, 2)]),
        excluding=st.lists(ids, max_size=4),
    )
    def best_for(
        self,
        capabilities: frozenset[str],
        cost: int,
        metric: Metric,
        threshold: Fraction,
        excluding: list[str],
    ) -> None:
        comparison = Comparison(metric, threshold)
        able = [
            task_id
            for task_id, task in self.tasks.items()
            if task_id not in excluding
            and comparison.match(task.required, capabilities) >= threshold
            and (task.cap is None or cost <= task.cap)
        ]
        expected = min(able, key=lambda task_id: self.tasks[task_id].order, default=None)
        found = self.backlog.best_for(
            capabilities, cost, comparison=comparison, excluding=excluding
        )
        assert found == expected

    @invariant()
    def counts(self) -> None:
        assert len(self.backlog) == len(self.tasks)
        assert all(task_id in self.backlog for task_id in self.tasks)


TestBacklog = BacklogMachine.TestCase
TestBacklog.settings = settings(max_examples=120, stateful_step_count=50)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ((1, (9, 9)), (0, (1, 0))),
        ((-999, (9, 9)), (-1000, (1, 0))),
        ((0, (1, 1_023)), (0, (2, 0))),
        ((0, (2**42 - 1, 0)), (0, (2**42 - 1, 1))),
        ((1000, (2**42 - 1, 1_023)), (999, (0, 0))),
    ],
)
def test_c12_a_turn_orders_by_priority_then_revision_then_position(
    first: tuple[int, tuple[int, int]], second: tuple[int, tuple[int, int]]
) -> None:
    assert 0 <= turn(*first) < turn(*second) < 2**63 - 1


@pytest.mark.parametrize(
    ("priority", "age"),
    [(1001, (0, 0)), (-1001, (0, 0)), (0, (2**42, 0)), (0, (-1, 0)), (0, (0, 1_024))],
)
def test_c12_a_turn_that_would_spill_into_another_is_refused(
    priority: int, age: tuple[int, int]
) -> None:
    backlog = Backlog()
    backlog.put("task", frozenset(), priority=0, age=(1, 0))
    with pytest.raises(ValueError, match="out of range"):
        backlog.put("task", frozenset(), priority=priority, age=age)
    assert "task" in backlog, "a refusal changes nothing"


def test_c12_a_task_passes_no_older_one_that_the_swarm_could_do() -> None:
    backlog = Backlog()
    both, one = frozenset("ab"), frozenset("a")
    backlog.put("other", frozenset("xyz"), priority=0, age=(1, 0))
    backlog.put("young", both, priority=0, age=(3, 1))
    backlog.put("dear", both, priority=0, age=(2, 0), max_cost_per_hour_micros=4)
    backlog.put("old", both, priority=0, age=(3, 0))
    backlog.put("any", frozenset(), priority=0, age=(4, 0))
    assert backlog.best_for(both, 5) == "old"
    assert backlog.best_for(both, 4) == "dear"
    assert backlog.best_for(both, 5, excluding={"old"}) == "young"
    assert backlog.best_for(one, 5) == "any", "one of two is less than seven tenths"
    backlog.put("urgent", frozenset(), priority=1, age=(9, 0))
    assert backlog.best_for(both, 5) == "urgent"


def test_c12_more_kinds_of_task_than_the_first_arrays_hold() -> None:
    backlog = Backlog()
    for number in range(3_000):
        kind = frozenset({str(number)})
        backlog.put(f"task-{number}", kind, priority=number % 7, age=(number, 0))
    for number in (0, 1_023, 1_024, 2_999):
        assert backlog.best_for(frozenset({str(number)}), 0) == f"task-{number}"
    for number in range(3_000):
        backlog.remove(f"task-{number}")
    assert (len(backlog), backlog.best_for(frozenset("0"), 0)) == (0, None)
