"""Random lives of boards against a model that knows only what was acknowledged."""

from collections.abc import Coroutine
from datetime import timedelta
from typing import Any, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from infrafabric_server.coordinator.link import SessionLink
from infrafabric_server.coordinator.models import (
    BlockerReport,
    Dispatch,
    FailureKind,
    RetryPolicy,
    Task,
    TaskState,
)
from infrafabric_server.errors import FabricError, Reason
from tests.harness.fabric import new_task
from tests.unit.coordinator.machines import FabricMachine

T = TypeVar("T")

SWARMS = ("anna", "bert", "cleo")
SKILLS = {"anna": {"x"}, "bert": {"x", "y"}, "cleo": {"y"}}
SLOTS = {"anna": 1, "bert": 2, "cleo": 1}
HELD = (Reason.STALE_ATTEMPT, Reason.NOT_OWNER, Reason.TASK_NOT_CLAIMED, Reason.TASK_ENDED)

swarms = st.sampled_from(SWARMS)
picks = st.integers(0, 30)


class Board(FabricMachine):
    """Swarms come, go, claim, finish, fail and lie; the board must stay consistent."""

    def __init__(self) -> None:
        super().__init__()
        self.links: dict[str, SessionLink] = {}
        self.attempts: dict[str, int] = {}
        self.completed: dict[str, tuple[str, int]] = {}
        self.names: list[str] = []
        self.start()

    def start(self) -> None:
        """Start a fabric over what the last one left."""
        self.serve()
        for swarm_id in SWARMS:
            self.run(self.fabric.coordinator.register_swarm(swarm_id, frozenset(SKILLS[swarm_id])))

    def a_task(self, pick: int) -> Task:
        """Return one of the tasks."""
        return self.fabric.task(self.names[pick % len(self.names)])

    def call(self, work: Coroutine[Any, Any, Task], *expected: Reason) -> Task | None:
        """Return the task after a call that may be refused for the expected reasons only."""
        try:
            return self.run(work)
        except FabricError as error:
            if error.reason not in expected:
                raise
            return None

    @rule(swarm_id=swarms)
    def join(self, swarm_id: str) -> None:
        joined = self.fabric.join(swarm_id, SKILLS[swarm_id], slots=SLOTS[swarm_id])
        self.links[swarm_id] = self.run(joined)

    @rule(swarm_id=swarms)
    def lose_session(self, swarm_id: str) -> None:
        link = self.links.pop(swarm_id, None)
        if link is not None:
            self.run(self.fabric.store.revoke(link.lease))

    @rule(
        count=st.integers(1, 4),
        needs=st.sampled_from([{"x"}, {"y"}, {"x", "y"}, set()]),
        dispatch=st.sampled_from(Dispatch),
        priority=st.integers(-1, 1),
        filler=st.booleans(),
        picks=st.lists(picks, max_size=2),
    )
    def create(
        self,
        count: int,
        needs: set[str],
        dispatch: Dispatch,
        priority: int,
        *,
        filler: bool,
        picks: list[int],
    ) -> None:
        known = [self.a_task(pick) for pick in picks] if self.names else []
        dead = (TaskState.FAILED, TaskState.CANCELLED)
        before = {task.task_id for task in known if task.state not in dead}
        board = []
        for position in range(count):
            name = f"t{len(self.names)}"
            self.names.append(name)
            board.append(
                new_task(
                    name,
                    *sorted(before),
                    needs=needs,
                    dispatch=dispatch,
                    priority=priority,
                    filler=filler,
                    retry=RetryPolicy(max_attempts=2, initial_backoff=timedelta(0)),
                    position=position,
                )
            )
            before.add(name)
        self.run(self.fabric.create(*board))

    @precondition(lambda self: self.names)
    @rule(swarm_id=swarms, pick=picks, session=st.booleans())
    def claim(self, swarm_id: str, pick: int, *, session: bool) -> None:
        link = self.links.get(swarm_id) if session else None
        before = self.a_task(pick)
        work = self.fabric.coordinator.claims.claim(
            swarm_id, before.task_id, link.epoch if link else None
        )
        outcome = self.run(work)
        if outcome.claimed and (before.claim is None or before.claim.swarm_id != swarm_id):
            assert before.claim is None
            assert before.state is TaskState.AVAILABLE
            assert outcome.task is not None
            assert outcome.task.attempt == before.attempt + 1

    @precondition(lambda self: self.names)
    @rule(swarm_id=swarms, pick=picks, late=st.booleans())
    def complete(self, swarm_id: str, pick: int, *, late: bool) -> None:
        task = self.a_task(pick)
        attempt = task.attempt - 1 if late else task.attempt
        held = task.claim is not None and task.claim.swarm_id == swarm_id and not late
        repeat = self.completed.get(task.task_id) == (swarm_id, attempt)
        work = self.fabric.coordinator.claims.complete(
            swarm_id, task.task_id, attempt, result_json="{}", cost_micros=0
        )
        done = self.call(work, *HELD)
        assert (done is not None) == (held or repeat)
        if done is not None:
            self.completed[task.task_id] = (swarm_id, attempt)

    @precondition(lambda self: self.names)
    @rule(swarm_id=swarms, pick=picks, permanent=st.booleans())
    def fail(self, swarm_id: str, pick: int, *, permanent: bool) -> None:
        task = self.a_task(pick)
        kind = FailureKind.PERMANENT if permanent else FailureKind.RETRYABLE
        work = self.fabric.coordinator.claims.fail(
            swarm_id, task.task_id, task.attempt, reason="r", kind=kind, retry_time=None
        )
        self.call(work, *HELD)

    @precondition(lambda self: self.names)
    @rule(swarm_id=swarms, pick=picks)
    def release(self, swarm_id: str, pick: int) -> None:
        task = self.a_task(pick)
        work = self.fabric.coordinator.claims.release(swarm_id, task.task_id, task.attempt, "r")
        self.call(work, *HELD)

    @precondition(lambda self: self.names)
    @rule(pick=picks)
    def cancel(self, pick: int) -> None:
        work = self.fabric.coordinator.endings.cancel(self.a_task(pick).task_id, "r")
        self.call(work, Reason.TASK_ENDED)

    @precondition(lambda self: self.names)
    @rule(pick=picks)
    def block_or_resolve(self, pick: int) -> None:
        task = self.a_task(pick)
        if task.claim is None:
            return
        swarm_id = task.claim.swarm_id
        if task.claim.parked:
            self.run(self.fabric.coordinator.resolve_blocker(swarm_id, task.task_id, "r"))
        else:
            report = BlockerReport(task_id=task.task_id, attempt=task.attempt, description="d")
            self.run(self.fabric.coordinator.detect_blocker(swarm_id, report))

    @rule()
    def restart(self) -> None:
        """Stop the server and start another one: sessions come back as strangers."""
        self.end()
        before = dict(self.attempts)
        self.start()
        for name, attempt in before.items():
            assert self.fabric.task(name).attempt >= attempt

    @invariant()
    def attempts_only_grow(self) -> None:
        for name in self.names:
            attempt = self.fabric.task(name).attempt
            assert attempt >= self.attempts.get(name, 0)
            self.attempts[name] = attempt

    @invariant()
    def an_acknowledged_completion_is_final(self) -> None:
        for name, (swarm_id, attempt) in self.completed.items():
            task = self.fabric.task(name)
            assert task.state is TaskState.COMPLETED
            assert (task.last_owner, task.attempt) == (swarm_id, attempt)

    @invariant()
    def a_claim_has_one_live_holder(self) -> None:
        fleet = self.fabric.fleet
        for name in self.names:
            task = self.fabric.task(name)
            assert (task.claim is not None) == (task.state is TaskState.CLAIMED)
            if task.claim is None:
                continue
            assert task.claim.attempt == task.attempt
            assert name in self.fabric.coordinator.held_by(task.claim.swarm_id)
            if task.claim.expire_time is None:
                assert fleet.sessions.get(task.claim.swarm_id) is not None

    @invariant()
    def a_task_is_blocked_exactly_while_it_waits(self) -> None:
        for name in self.names:
            task = self.fabric.task(name)
            states = [self.fabric.task(each).state for each in task.spec.dependencies]
            if task.state is TaskState.BLOCKED:
                assert any(not state.ended for state in states)
            elif task.state in (TaskState.AVAILABLE, TaskState.CLAIMED, TaskState.COMPLETED):
                assert all(state is TaskState.COMPLETED for state in states)

    @invariant()
    def nobody_holds_more_than_its_slots_but_for_a_returned_task(self) -> None:
        for swarm_id in SWARMS:
            holdings = [self.fabric.task(n) for n in self.fabric.coordinator.held_by(swarm_id)]
            working = [t for t in holdings if t.claim is not None and not t.claim.parked]
            own = [t for t in working if not t.spec.filler]
            assert len(working) <= SLOTS[swarm_id] + len(own)


Board.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestBoard = Board.TestCase
