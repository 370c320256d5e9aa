"""What the session's protocol holds, says and loses, against the model of the fabric."""

import pytest

from infrafabric import errors
from infrafabric.session.events import (
    BlockerAlerted,
    BroadcastReceived,
    Superseded,
    TaskLost,
    TaskReturned,
)
from infrafabric.session.protocol import SessionProtocol
from infrafabric.v1 import error_pb2
from infrafabric.v1 import session_server_pb2 as server_pb2
from infrafabric.v1.session_client_pb2 import BlockerFrame, ClientFrame, ProgressFrame, ReleaseFrame
from infrafabric.v1.status_pb2 import STATUS_BLOCKED, STATUS_BUSY, STATUS_HELP, STATUS_IDLE
from infrafabric.v1.task_pb2 import TASK_STATE_COMPLETED
from tests.unit.client.fabric_model import status_of
from tests.unit.client.wire import Wire, completes, says, settings


def test_assignment_is_acknowledged_and_handed_over_once(wire: Wire) -> None:
    wire.model.assign("t1")
    wire.settle()
    assert wire.received == [("t1", 1)]
    assert wire.model.acked == {("t1", 1)}


def test_completes_what_it_holds(wire: Wire) -> None:
    wire.model.assign("t1")
    wire.settle()
    request_id = wire.ask(completes("t1"))
    wire.settle()
    assert wire.answers[request_id].task.state == TASK_STATE_COMPLETED
    assert wire.held == set()
    assert wire.protocol.unanswered == 0


def test_c10_claims_survive_a_cut_with_the_token(wire: Wire) -> None:
    wire.model.assign("t1")
    wire.settle()
    wire.cut(errors.Unreachable("cut"))
    wire.settle()
    assert wire.model.opened[1].resume_token == "token-1"
    assert wire.received == [("t1", 1)]
    assert wire.lost == []


def test_c10_attempt_rises_when_the_token_is_lost(wire: Wire) -> None:
    wire.model.assign("t1")
    wire.settle()
    wire.cut(errors.SessionExpired("silent"))
    wire.settle()
    assert wire.model.opened[1].resume_token == ""
    assert wire.lost == [("t1", 1)]
    assert wire.received == [("t1", 1), ("t1", 2)]
    assert wire.held == {("t1", 2)}


def test_c10_token_of_an_earlier_process_keeps_its_claims() -> None:
    first = Wire()
    first.settle()
    first.model.assign("t1")
    first.settle()
    second = Wire(SessionProtocol(settings(resume_token=first.protocol.resume_token)))
    second.model = first.model
    second.settle()
    assert second.received == [("t1", 1)]


def test_completion_that_was_cut_is_asked_again_under_the_same_id(wire: Wire) -> None:
    wire.model.assign("t1")
    wire.settle()
    request_id = wire.ask(completes("t1"))
    for _ in range(2):  # written and taken, but the answer never arrives
        wire.move()
    wire.cut()
    assert wire.model.completions == {"t1": 1}
    wire.settle()
    assert wire.model.completions == {"t1": 1}
    assert wire.answers[request_id].task.state == TASK_STATE_COMPLETED
    assert wire.lost == []
    asked = [frame.request_id for frame in wire.model.seen if frame.HasField("complete")]
    assert asked == [request_id, request_id]


def test_n9_only_the_last_status_is_sent_after_a_cut(wire: Wire) -> None:
    wire.cut()
    ids = [wire.ask(says(status), "status") for status in (STATUS_BUSY, STATUS_HELP, STATUS_IDLE)]
    wire.settle()
    assert [frame.status for frame in wire.model.statuses] == [STATUS_IDLE]
    assert [event for event in wire.events if isinstance(event, Superseded)] == [
        Superseded(ids[0]),
        Superseded(ids[1]),
    ]
    assert ids[2] in wire.answers


def test_n9_status_that_was_sent_and_not_answered_yields_to_a_later_one(wire: Wire) -> None:
    first = wire.ask(says(STATUS_BUSY), "status")
    wire.move()
    second = wire.ask(says(STATUS_BLOCKED), "status")
    wire.cut()
    wire.settle()
    assert [frame.status for frame in wire.model.statuses] == [STATUS_BLOCKED]
    assert Superseded(first) in wire.events
    assert second in wire.answers


def test_c8_only_the_last_milestone_of_each_task_waits(wire: Wire) -> None:
    for task_id in ("t1", "t2"):
        wire.model.assign(task_id)
    wire.settle()
    wire.cut()
    for task_id, percent in (("t1", 25), ("t2", 25), ("t1", 50)):
        frame = ProgressFrame(task_id=task_id, attempt=1, milestone_percent=percent)
        wire.ask(ClientFrame(progress=frame), f"progress/{task_id}")
    wire.settle()
    assert {(m.task_id, m.milestone_percent) for m in wire.model.milestones} == {
        ("t1", 50),
        ("t2", 25),
    }


def test_c10_work_that_the_heartbeat_does_not_list_is_lost(wire: Wire) -> None:
    wire.model.assign("t1")
    wire.settle()
    wire.model.take_back("t1", tell=False)
    wire.pass_time(6)
    assert wire.lost == [("t1", 1)]
    assert wire.held == set()


def test_heartbeat_that_overtakes_an_answer_does_not_lose_the_claim(wire: Wire) -> None:
    wire.model.assign("t1")
    wire.settle()
    wire.ask(completes("t1"))
    wire.model.tasks["t1"].state = TASK_STATE_COMPLETED  # applied; the answer is on its way
    wire.pass_time(6)
    assert wire.lost == []


def test_c11_revoked_claim_is_lost_at_once_and_says_why(wire: Wire) -> None:
    wire.model.assign("t1")
    wire.settle()
    wire.model.take_back("t1", tell=True)
    wire.settle()
    assert TaskLost("t1", 1, server_pb2.REVOKE_REASON_CANCELLED, "") in wire.events


def test_revocation_of_an_old_attempt_means_nothing(wire: Wire) -> None:
    wire.model.assign("t1")
    wire.settle()
    revoked = server_pb2.RevokedFrame(task_id="t1", attempt=7)
    wire.model.say(server_pb2.ServerFrame(revoked=revoked))
    wire.settle()
    request_id = wire.ask(completes("t1"))
    wire.settle()
    assert request_id in wire.answers, "the claim is still there to be completed"


def test_what_is_not_held_cannot_be_completed(wire: Wire) -> None:
    with pytest.raises(errors.StaleAttempt, match="attempt 1 of t1"):
        wire.ask(completes("t1"))


def test_c10_stale_answer_voids_the_claim(wire: Wire) -> None:
    wire.model.assign("t1")
    wire.settle()
    wire.model.tasks["t1"].attempt = 5
    request_id = wire.ask(completes("t1"))
    wire.settle()
    assert isinstance(wire.denied[request_id], errors.StaleAttempt)
    assert wire.lost == [("t1", 1)]


def test_refused_end_keeps_the_claim(wire: Wire) -> None:
    wire.model.assign("t1")
    wire.settle()
    wire.model.refuse_next = [status_of(error_pb2.ERROR_REASON_INVALID_FIELD)]
    request_id = wire.ask(completes("t1"))
    wire.settle()
    assert isinstance(wire.denied[request_id], errors.InvalidField)
    again = wire.ask(completes("t1"))
    wire.settle()
    assert again in wire.answers


def test_passing_refusal_is_asked_again_when_it_is_time(wire: Wire) -> None:
    wire.model.assign("t1")
    wire.settle()
    wire.model.refuse_next = [status_of(error_pb2.ERROR_REASON_OUTBOX_FULL, retry_after=1.5)]
    request_id = wire.ask(completes("t1"))
    wire.settle()
    assert request_id not in wire.denied
    wire.pass_time(1.4)
    assert request_id not in wire.answers
    wire.pass_time(0.2)
    assert request_id in wire.answers


def test_c9_blocked_task_frees_its_slot_and_comes_back(wire: Wire) -> None:
    wire.model.assign("t1")
    wire.model.offer("filler")
    wire.settle()
    assert wire.received == [("t1", 1)]  # the only slot is taken
    wire.ask(ClientFrame(blocker=BlockerFrame(task_id="t1", attempt=1, description="stuck")))
    wire.settle()
    assert wire.received == [("t1", 1), ("filler", 1)]
    wire.model.resolve("t1")
    wire.settle()
    assert TaskReturned("t1", 1) in wire.events
    assert wire.received == [("t1", 1), ("filler", 1)]


def test_c9_task_that_was_unblocked_during_a_cut_comes_back(wire: Wire) -> None:
    wire.model.assign("t1")
    wire.settle()
    wire.ask(ClientFrame(blocker=BlockerFrame(task_id="t1", attempt=1, description="stuck")))
    wire.settle()
    wire.cut()
    wire.model.resolve("t1")
    wire.settle()
    assert TaskReturned("t1", 1) in wire.events


def test_c9_task_whose_blocker_was_reported_and_resolved_during_a_cut_comes_back(
    wire: Wire,
) -> None:
    wire.model.assign("t1")
    wire.settle()
    wire.ask(ClientFrame(blocker=BlockerFrame(task_id="t1", attempt=1, description="stuck")))
    while "t1" not in wire.model.blockers:
        wire.move()
    wire.cut()
    wire.model.resolve("t1")
    wire.settle()
    assert wire.events.count(TaskReturned("t1", 1)) == 1
    assert not wire.model.tasks["t1"].parked


def test_broadcasts_resume_after_the_cursor(wire: Wire) -> None:
    wire.model.broadcast("one")
    wire.settle()
    wire.cut()
    wire.model.broadcast("two")
    wire.settle()
    texts = [e.message.message for e in wire.events if isinstance(e, BroadcastReceived)]
    assert texts == ["one", "two"]
    assert wire.model.opened[1].resume_after == "1"


def test_alerts_reach_the_orchestrator(wire: Wire) -> None:
    wire.model.alert("b1")
    wire.settle()
    assert [e.blocker.blocker_id for e in wire.events if isinstance(e, BlockerAlerted)] == ["b1"]


def test_released_task_that_is_assigned_again_is_new(wire: Wire) -> None:
    wire.model.assign("t1")
    wire.settle()
    wire.ask(ClientFrame(release=ReleaseFrame(task_id="t1", attempt=1)))
    wire.settle()
    wire.model.assign("t1")
    wire.settle()
    assert wire.received == [("t1", 1), ("t1", 2)]
