"""A stream that is cut anywhere loses nothing and does nothing twice (C10, N9)."""

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from infrafabric.errors import SessionExpired, Unreachable
from infrafabric.session.events import BroadcastReceived, Superseded
from infrafabric.session.protocol import SessionProtocol, State
from infrafabric.v1.session_client_pb2 import (
    BlockerFrame,
    ClientFrame,
    CreateFrame,
    ProgressFrame,
    ReleaseFrame,
)
from infrafabric.v1.status_pb2 import STATUS_BLOCKED, STATUS_BUSY, STATUS_IDLE
from infrafabric.v1.task_pb2 import TASK_STATE_AVAILABLE, TASK_STATE_CLAIMED, Task
from tests.unit.client.wire import Wire, claims, completes, says, settings

WINDOW = 4


class CutWire(Wire):
    """A stream that is cut after each of the given numbers of moved messages."""

    def __init__(self, *cuts: int) -> None:
        super().__init__(SessionProtocol(settings(slots=2, window=WINDOW)))
        self._cuts = set(cuts)

    def move(self) -> bool:
        moved = super().move()
        if moved and self.moved in self._cuts:
            self._cuts.discard(self.moved)
            self.cut(Unreachable("cut by the test"))
        return moved

    def settle(self) -> None:
        super().settle()
        while self.protocol.state is State.IDLE:
            super().settle()


def scenario(wire: CutWire) -> list[str]:
    """Do a little of everything; return the ids of the decisions that were asked for."""
    asked = []
    wire.settle()
    wire.model.assign("assigned")
    wire.model.offer("offered")
    wire.model.tasks["wanted"] = Task(task_id="wanted", state=TASK_STATE_AVAILABLE)
    wire.ask(says(STATUS_BUSY), "status")
    wire.settle()
    asked.append(wire.ask(claims("wanted")))
    asked.append(wire.ask(ClientFrame(create=CreateFrame(tasks=[Task(task_id="new")]))))
    frame = ProgressFrame(task_id="assigned", attempt=1, milestone_percent=50)
    wire.ask(ClientFrame(progress=frame), "progress/assigned")
    wire.model.broadcast("hear, hear")
    wire.settle()
    blocker = BlockerFrame(task_id="assigned", attempt=1, description="stuck")
    asked.append(wire.ask(ClientFrame(blocker=blocker)))
    wire.ask(says(STATUS_BLOCKED), "status")
    wire.settle()
    wire.model.resolve("assigned")
    wire.settle()
    asked.extend(wire.ask(completes(task_id, attempt)) for task_id, attempt in sorted(wire.held))
    wire.ask(says(STATUS_IDLE), "status")
    wire.settle()
    return asked


def check(wire: CutWire, asked: list[str]) -> None:
    assert wire.model.completions == {"assigned": 1, "offered": 1, "wanted": 1}
    assert sorted(wire.received) == [("assigned", 1), ("offered", 1)]
    assert wire.lost == []
    assert wire.denied == {}
    assert set(asked) <= set(wire.answers)
    assert wire.protocol.unanswered == 0
    assert wire.model.statuses[-1].status == STATUS_IDLE
    assert wire.model.milestones[-1].milestone_percent == 50
    assert len(wire.model.created) == 1
    heard = [e.message.message for e in wire.events if isinstance(e, BroadcastReceived)]
    assert heard == ["hear, hear"]


def _undisturbed() -> int:
    wire = CutWire()
    check(wire, scenario(wire))
    return wire.moved


MOVES = _undisturbed()


@pytest.mark.parametrize("cut", range(1, MOVES + 1))
def test_c10_cut_at_every_point(cut: int) -> None:
    wire = CutWire(cut)
    check(wire, scenario(wire))


@pytest.mark.parametrize("first", range(1, MOVES + 1))
def test_c10_cut_at_every_pair_of_points(first: int) -> None:
    for second in range(first + 1, MOVES + 12):  # the first cut adds moves of its own
        wire = CutWire(first, second)
        check(wire, scenario(wire))


class AnySession(RuleBasedStateMachine):
    """Whatever happens in whatever order, client and fabric agree in the end."""

    def __init__(self) -> None:
        super().__init__()
        self.wire = Wire(SessionProtocol(settings(slots=2, window=WINDOW)))
        self.wire.model.slots = 2
        self.made = 0
        self.asked: set[str] = set()
        self.consumed = 0
        self.last_status = 0

    def _task(self) -> str:
        self.made += 1
        return f"t{self.made}"

    def _may_assign(self) -> bool:
        model = self.wire.model
        return model.open and model.credit > 0 and model.free_slots > 0

    @precondition(lambda self: self._may_assign())
    @rule()
    def assign(self) -> None:
        self.wire.model.assign(self._task())

    @rule()
    def offer(self) -> None:
        self.wire.model.offer(self._task())

    @rule()
    def claim(self) -> None:
        task_id = self._task()
        self.wire.model.tasks[task_id] = Task(task_id=task_id, state=TASK_STATE_AVAILABLE)
        self.asked.add(self.wire.ask(claims(task_id)))

    @rule()
    def claim_and_walk_away(self) -> None:
        task_id = self._task()
        self.wire.model.tasks[task_id] = Task(task_id=task_id, state=TASK_STATE_AVAILABLE)
        self.wire.protocol.abandon(self.wire.ask(claims(task_id)))

    @precondition(lambda self: self.wire.held)
    @rule(data=st.data(), end=st.sampled_from(["complete", "release", "block"]))
    def act(self, data: st.DataObject, end: str) -> None:
        task_id, attempt = data.draw(st.sampled_from(sorted(self.wire.held)))
        frames = {
            "complete": completes(task_id, attempt),
            "release": ClientFrame(release=ReleaseFrame(task_id=task_id, attempt=attempt)),
            "block": ClientFrame(
                blocker=BlockerFrame(task_id=task_id, attempt=attempt, description="stuck")
            ),
        }
        self.asked.add(self.wire.ask(frames[end]))

    @rule()
    def report(self) -> None:
        self.last_status = STATUS_BUSY if self.last_status == STATUS_IDLE else STATUS_IDLE
        self.wire.ask(says(self.last_status), "status")

    @rule(data=st.data(), tell=st.booleans())
    def take_back(self, data: st.DataObject, tell: bool) -> None:
        tasks = self.wire.model.tasks
        owned = sorted(t.task_id for t in tasks.values() if t.state == TASK_STATE_CLAIMED)
        if owned:
            self.wire.model.take_back(data.draw(st.sampled_from(owned)), tell=tell)

    @rule(data=st.data())
    def resolve(self, data: st.DataObject) -> None:
        parked = sorted(t.task_id for t in self.wire.model.tasks.values() if t.parked)
        if parked:
            self.wire.model.resolve(data.draw(st.sampled_from(parked)))

    @precondition(lambda self: self.consumed < len(self.wire.received))
    @rule()
    def consume(self) -> None:
        self.consumed += 1
        self.wire.consume()

    @rule(count=st.integers(1, 5))
    def move(self, count: int) -> None:
        if self.wire.protocol.state is State.IDLE:
            self.wire.connect()
        for _ in range(count):
            self.wire.move()

    @precondition(lambda self: self.wire.protocol.state is not State.IDLE)
    @rule(expired=st.booleans())
    def cut(self, expired: bool) -> None:
        self.wire.cut(SessionExpired("silent") if expired else Unreachable("cut"))

    @invariant()
    def no_claim_is_handed_over_twice(self) -> None:
        assert len(self.wire.received) == len(set(self.wire.received))

    @invariant()
    def waiting_tasks_fit_the_window(self) -> None:
        assert len(self.wire.received) - self.consumed <= WINDOW

    def teardown(self) -> None:
        wire = self.wire
        wire.settle()
        # Offers that wait for a slot use credit: each round may free a slot, and with it credit.
        for _ in range(self.made + 1):
            while self.consumed < len(wire.received):
                self.consume()
            wire.settle()
            wire.pass_time(6)
        owned = {
            (task.task_id, task.attempt)
            for task in wire.model.tasks.values()
            if task.state == TASK_STATE_CLAIMED
        }
        assert wire.held == owned
        superseded = {e.request_id for e in wire.events if isinstance(e, Superseded)}
        assert self.asked <= wire.answers.keys() | wire.denied.keys() | superseded
        assert wire.protocol.unanswered == 0
        assert all(count == 1 for count in wire.model.completions.values())
        if self.last_status:
            assert wire.model.statuses[-1].status == self.last_status


TestAnySession = AnySession.TestCase
TestAnySession.settings = hypothesis_settings(
    max_examples=150, stateful_step_count=40, deadline=None
)
