"""G6: what a session does when it is told to halt."""

from infrafabric import errors
from infrafabric.session.events import Halted, TaskLost
from infrafabric.v1.session_server_pb2 import REVOKE_REASON_HALTED
from infrafabric.v1.task_pb2 import TASK_STATE_AVAILABLE, TASK_STATE_COMPLETED
from tests.unit.client.wire import Wire, completes, kinds


def test_g6_all_claims_are_lost_and_given_back(wire: Wire) -> None:
    for task_id in ("t1", "t2"):
        wire.model.assign(task_id)
    wire.settle()
    wire.model.halt("3 failures in a row")
    wire.settle()
    assert wire.lost == [("t1", 1), ("t2", 1)]
    lost = [event for event in wire.events if isinstance(event, TaskLost)]
    assert {(each.reason, each.detail) for each in lost} == {
        (REVOKE_REASON_HALTED, "halted: 3 failures in a row")
    }
    assert sum(isinstance(event, Halted) for event in wire.events) == 1
    assert {task.state for task in wire.model.tasks.values()} == {TASK_STATE_AVAILABLE}
    assert wire.protocol.unanswered == 0


def test_g6_a_claim_whose_end_was_asked_for_is_left_to_the_answer(wire: Wire) -> None:
    wire.model.assign("t1")
    wire.settle()
    wire.ask(completes("t1"))
    wire.model.halt("why")
    wire.settle()
    assert wire.lost == []
    assert wire.model.tasks["t1"].state == TASK_STATE_COMPLETED
    assert "release" not in kinds(wire)


def test_g6_what_is_given_back_is_given_back_over_a_cut(wire: Wire) -> None:
    wire.model.assign("t1")
    wire.settle()
    wire.model.halt("why")
    wire.move()
    wire.move()
    wire.cut(errors.Unreachable("cut"))
    wire.settle()
    assert wire.received == [("t1", 1)]
    assert wire.model.tasks["t1"].state == TASK_STATE_AVAILABLE
    assert wire.protocol.unanswered == 0
