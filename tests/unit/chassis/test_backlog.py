"""Which tasks wait for the chassis, and in which order."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from infrafabric_server.chassis.backlog import ChassisBacklog
from infrafabric_server.coordinator.models import Dispatch, Task, TaskSpec, TaskState

NOW = datetime(2025, 1, 1, tzinfo=UTC)

_TASKS = st.builds(
    Task,
    spec=st.builds(
        TaskSpec,
        task_id=st.sampled_from(["t1", "t2", "t3", "t4"]),
        priority=st.integers(-2, 2),
        chassis_swarm_id=st.sampled_from(["", "a", "b"]),
        create_time=st.integers(0, 3).map(lambda age: NOW - timedelta(seconds=age)),
    ),
    state=st.sampled_from(TaskState),
    dispatch=st.sampled_from(Dispatch),
    offered_to=st.sampled_from(["", "a"]),
    available_time=st.sampled_from([None, NOW, NOW + timedelta(seconds=1)]),
)


def waits(task: Task) -> bool:
    due = task.available_time is None or task.available_time <= NOW
    to_anyone = task.dispatch is Dispatch.AUTO and not task.offered_to
    named = bool(task.spec.chassis_swarm_id)
    return task.state is TaskState.AVAILABLE and due and to_anyone and named


@given(st.lists(st.tuples(_TASKS, st.booleans()), max_size=30))
def test_x1_c12_what_waits_is_served_by_priority_then_age(changes: list[tuple[Task, bool]]) -> None:
    backlog, known = ChassisBacklog(), dict[str, Task]()
    for task, gone in changes:
        old = known.pop(task.task_id, None)
        new = None if gone else task
        if new is not None:
            known[task.task_id] = new
        assert backlog.changed(old, new, NOW) is (new is not None and waits(new))

        waiting = [each for each in known.values() if waits(each)]
        assert set(backlog.swarms()) == {each.spec.chassis_swarm_id for each in waiting}
        for swarm_id in backlog.swarms():
            own = [each for each in waiting if each.spec.chassis_swarm_id == swarm_id]
            own.sort(key=lambda each: (-each.spec.priority, each.spec.create_time, each.task_id))
            assert list(backlog.of(swarm_id)) == [each.task_id for each in own]


@given(_TASKS)
def test_a_task_is_for_sessions_or_for_the_chassis(task: Task) -> None:
    assert not (task.assigned and task.runs_in_chassis)


def test_x1_the_next_of_many_is_found_without_sorting_them() -> None:
    class Counted(str):
        __slots__ = ()
        compared = 0

        def __lt__(self, other: str) -> bool:
            Counted.compared += 1
            return super().__lt__(other)

    backlog = ChassisBacklog()
    for number in range(1_000):
        spec = TaskSpec(task_id=f"t{number}", chassis_swarm_id="a", create_time=NOW)
        counted = spec.model_copy(update={"task_id": Counted(spec.task_id)})
        task = Task(spec=spec, state=TaskState.AVAILABLE).model_copy(update={"spec": counted})
        backlog.changed(None, task, NOW)
    entered = Counted.compared
    assert next(backlog.of("a")) == "t0"
    assert Counted.compared == entered > 0
