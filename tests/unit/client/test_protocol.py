"""The session's protocol, frame by frame against the model of the fabric."""

import pytest

from infrafabric import errors
from infrafabric.session.events import (
    BlockerAlerted,
    BroadcastReceived,
    Opened,
    Superseded,
    TaskLost,
    TaskReturned,
)
from infrafabric.session.outgoing import MAX_BATCH_BYTES, MAX_FRAME_BYTES, MAX_FRAMES
from infrafabric.session.protocol import BrokenStreamError, SessionProtocol, State
from infrafabric.v1 import error_pb2
from infrafabric.v1 import session_server_pb2 as server_pb2
from infrafabric.v1.coordinator_service_pb2 import OpenSessionResponse
from infrafabric.v1.session_client_pb2 import (
    BlockerFrame,
    ClientFrame,
    CreateFrame,
    ProgressFrame,
    ReleaseFrame,
)
from infrafabric.v1.status_pb2 import STATUS_BLOCKED, STATUS_BUSY, STATUS_HELP, STATUS_IDLE
from infrafabric.v1.task_pb2 import TASK_STATE_AVAILABLE, TASK_STATE_COMPLETED, Task
from tests.unit.client.fabric_model import status_of
from tests.unit.client.wire import Wire, claims, completes, says, settings


@pytest.fixture
def wire() -> Wire:
    """A stream that is open."""
    wire = Wire()
    wire.settle()
    return wire


def kinds(wire: Wire) -> list[str]:
    return [frame.WhichOneof("frame") or "" for frame in wire.model.seen]


def test_opens_with_who_it_is_and_no_token() -> None:
    wire = Wire()
    wire.settle()
    first = wire.model.opened[0]
    assert (first.swarm_id, first.resume_token, first.resume_after) == ("s1", "", "")
    assert first.credit == 64
    assert wire.protocol.state is State.OPEN
    assert wire.events == [Opened(epoch=1, resumed=False)]


def test_says_nothing_before_it_is_welcome() -> None:
    wire = Wire()
    wire.ask(says(STATUS_BUSY), "status")
    wire.connect()
    assert wire.protocol.flush(wire.now) is None
    wire.settle()
    assert kinds(wire) == ["open", "status"]


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


def test_claim_of_a_caller_is_told_to_the_caller_alone(wire: Wire) -> None:
    wire.model.tasks["t1"] = Task(task_id="t1", state=TASK_STATE_AVAILABLE)
    request_id = wire.ask(claims("t1"))
    wire.settle()
    assert wire.answers[request_id].claim.claimed
    assert wire.received == []


def test_claim_that_was_won_in_a_cut_reaches_its_caller_once(wire: Wire) -> None:
    wire.model.tasks["t1"] = Task(task_id="t1", state=TASK_STATE_AVAILABLE)
    request_id = wire.ask(claims("t1"))
    wire.move()
    wire.move()
    wire.cut()
    wire.settle()  # the task is returned to the session, and the claim asked again
    assert wire.answers[request_id].claim.task.attempt == 1
    assert wire.received == []
    assert ("t1", 1) in wire.model.acked


def test_claim_that_nobody_waits_for_is_given_back(wire: Wire) -> None:
    wire.model.tasks["t1"] = Task(task_id="t1", state=TASK_STATE_AVAILABLE)
    request_id = wire.ask(claims("t1"))
    wire.protocol.abandon(request_id)
    wire.settle()
    assert wire.model.tasks["t1"].state == TASK_STATE_AVAILABLE
    assert request_id not in wire.answers
    assert wire.protocol.unanswered == 0


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


def test_c5_offers_are_claimed_as_slots_become_free() -> None:
    wire = Wire(SessionProtocol(settings(slots=2)))
    wire.settle()
    for number in range(4):
        wire.model.offer(f"t{number}")
    wire.settle()
    assert wire.received == [("t0", 1), ("t1", 1)]
    wire.ask(completes("t0"))
    wire.settle()
    assert wire.received[2:] == [("t2", 1)]


def test_c5_offer_that_is_not_wanted_is_declined() -> None:
    wire = Wire(SessionProtocol(settings(slots=2, wanted=lambda task: task.task_id == "good")))
    wire.settle()
    wire.model.offer("bad")
    wire.model.offer("good")
    wire.settle()
    assert wire.received == [("good", 1)]
    assert wire.model.offers == set()


def test_offer_that_was_lost_is_forgotten(wire: Wire) -> None:
    wire.model.offer("t1")
    wire.model.tasks["t1"].state = TASK_STATE_COMPLETED
    wire.settle()
    wire.model.offer("t2")
    wire.settle()
    assert wire.received == [("t2", 1)]


def test_no_credit_pauses_delivery_until_tasks_are_consumed() -> None:
    wire = Wire(SessionProtocol(settings(window=2)))
    wire.settle()
    for number in range(5):
        wire.model.assign(f"t{number}")
    wire.settle()
    assert [task_id for task_id, _ in wire.received] == ["t0", "t1"]
    wire.consume()
    wire.settle()
    assert [task_id for task_id, _ in wire.received] == ["t0", "t1", "t2"]
    wire.cut()
    wire.settle()
    assert wire.model.opened[1].credit == 0, "what waits here counts on the next stream too"
    wire.consume()
    wire.consume()
    wire.settle()
    assert len(wire.received) == len(set(wire.received))


def test_credit_is_not_lost_over_any_number_of_cuts() -> None:
    wire = Wire(SessionProtocol(settings(window=3)))
    wire.settle()
    for number in range(20):
        wire.model.offer(f"t{number}")
        wire.settle()
        while wire.held:
            task_id, attempt = min(wire.held)
            wire.consume()
            wire.ask(completes(task_id, attempt))
            wire.settle()
        wire.cut()
        wire.settle()
    assert wire.model.opened[-1].credit == 3
    assert len(wire.model.completions) == 20


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


def test_heartbeats_come_at_a_third_of_the_lease_at_the_latest(wire: Wire) -> None:
    wire.pass_time(15.1)
    assert kinds(wire).count("heartbeat") == 3
    assert wire.protocol.silence_limit == pytest.approx(10)


def test_hole_in_the_sequence_breaks_the_stream(wire: Wire) -> None:
    frame = server_pb2.ServerFrame(sequence=9, heartbeat=server_pb2.HeartbeatReply())
    with pytest.raises(BrokenStreamError, match="frame 9 came after 1"):
        wire.protocol.receive(OpenSessionResponse(frames=[frame]), wire.now)


def test_message_with_a_hole_has_no_effect_at_all(wire: Wire) -> None:
    wire.model.assign("t1")
    message = wire.model.take()
    assert message is not None
    message.frames.add(sequence=9, heartbeat=server_pb2.HeartbeatReply())
    with pytest.raises(BrokenStreamError):
        wire.protocol.receive(message, wire.now)
    wire.cut()
    wire.settle()
    assert wire.received == [("t1", 1)], "the claim that came before the hole is not lost"


def test_frame_before_the_welcome_breaks_the_stream() -> None:
    protocol = SessionProtocol(settings())
    protocol.connect()
    frame = server_pb2.ServerFrame(sequence=1, heartbeat=server_pb2.HeartbeatReply())
    with pytest.raises(BrokenStreamError):
        protocol.receive(OpenSessionResponse(frames=[frame]), 0.0)


def test_repeated_frame_is_ignored(wire: Wire) -> None:
    wire.model.assign("t1")
    message = wire.model.take()
    assert message is not None
    assert len(wire.protocol.receive(message, 0.0)) == 1
    assert wire.protocol.receive(message, 0.0) == []


def test_frame_of_a_newer_contract_is_passed_over(wire: Wire) -> None:
    frame = server_pb2.ServerFrame(sequence=2)
    assert wire.protocol.receive(OpenSessionResponse(frames=[frame]), 0.0) == []


@pytest.mark.parametrize(
    "error",
    [
        errors.SessionFenced("a newer stream took over"),
        errors.SessionProtocol("open came twice"),
        errors.InvalidField("open.capabilities: bad"),
        errors.Refused("UNAUTHENTICATED: no"),
    ],
)
def test_stops_when_coming_back_would_not_help(wire: Wire, error: errors.FabricError) -> None:
    wire.cut(error)
    assert wire.protocol.state is State.STOPPED
    assert wire.protocol.stopped_by is error


@pytest.mark.parametrize(
    "error",
    [
        None,
        errors.Unreachable("UNAVAILABLE: connection reset"),
        errors.Draining("shutting down", retry_after=1.0),
        errors.QueueOverflow("too slow"),
        errors.StoreUnavailable("no answer"),
    ],
)
def test_comes_back_with_its_token_after_what_passes(
    wire: Wire, error: errors.FabricError | None
) -> None:
    wire.cut(error)
    wire.settle()
    assert wire.model.opened[1].resume_token == "token-1"


def test_closing_resume_keeps_the_claims(wire: Wire) -> None:
    wire.model.assign("t1")
    wire.settle()
    wire.model.closing(server_pb2.CLOSING_ACTION_RESUME)
    wire.settle()
    wire.cut()
    wire.settle()
    assert wire.model.opened[1].resume_token == "token-1"
    assert wire.lost == []


def test_closing_restart_gives_the_claims_up(wire: Wire) -> None:
    wire.model.assign("t1")
    wire.settle()
    wire.model.closing(server_pb2.CLOSING_ACTION_RESTART, "moved")
    wire.settle()
    wire.cut()
    assert wire.lost == [("t1", 1)]
    wire.settle()
    assert wire.model.opened[1].resume_token == ""


def test_closing_stop_ends_the_session(wire: Wire) -> None:
    wire.model.closing(server_pb2.CLOSING_ACTION_STOP, "deregistered")
    wire.settle()
    wire.cut()
    assert isinstance(wire.protocol.stopped_by, errors.SessionStopped)
    assert wire.protocol.stopped_by.message == "deregistered"


def test_close_is_the_last_thing_said(wire: Wire) -> None:
    wire.model.assign("t1")
    wire.settle()
    wire.ask(completes("t1"))
    wire.protocol.close("done")
    wire.settle()
    assert kinds(wire)[-2:] == ["complete", "close"]
    wire.cut()
    assert wire.protocol.state is State.STOPPED
    assert wire.protocol.stopped_by is None


def test_close_without_a_stream_stops_at_once() -> None:
    protocol = SessionProtocol(settings())
    protocol.close("done")
    assert protocol.state is State.STOPPED


def test_what_waits_goes_in_batches_of_64_frames(wire: Wire) -> None:
    for number in range(150):
        wire.ask(claims(f"t{number}"))
    sizes = []
    while batch := wire.protocol.flush(wire.now):
        sizes.append(len(batch.frames))
    assert sizes == [MAX_FRAMES, MAX_FRAMES, 150 - 2 * MAX_FRAMES]


def test_what_waits_goes_in_batches_of_256_kib(wire: Wire) -> None:
    for number in range(6):
        board = CreateFrame(tasks=[Task(task_id=f"t{number}", title="x" * (MAX_BATCH_BYTES // 2))])
        wire.ask(ClientFrame(create=board))
    wire.ask(ClientFrame(create=CreateFrame(tasks=[Task(title="x" * 2 * MAX_BATCH_BYTES)])))
    sizes = []
    while batch := wire.protocol.flush(wire.now):
        sizes.append(len(batch.frames))
    assert sizes == [1, 1, 1, 1, 1, 1, 1], "two of just over a half do not fit together"


def test_frame_that_no_stream_could_carry_is_refused_here(wire: Wire) -> None:
    board = CreateFrame(tasks=[Task(title="x" * MAX_FRAME_BYTES)])
    with pytest.raises(errors.InvalidField, match="create: must be at most"):
        wire.ask(ClientFrame(create=board))
    assert wire.protocol.unanswered == 0


def test_released_task_that_is_assigned_again_is_new(wire: Wire) -> None:
    wire.model.assign("t1")
    wire.settle()
    wire.ask(ClientFrame(release=ReleaseFrame(task_id="t1", attempt=1)))
    wire.settle()
    wire.model.assign("t1")
    wire.settle()
    assert wire.received == [("t1", 1), ("t1", 2)]
