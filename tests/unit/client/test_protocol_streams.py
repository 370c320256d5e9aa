"""How the session's protocol opens, reads, batches and ends a stream."""

import pytest

from infrafabric import errors
from infrafabric.session.events import Opened
from infrafabric.session.outgoing import MAX_BATCH_BYTES, MAX_FRAME_BYTES, MAX_FRAMES
from infrafabric.session.protocol import BrokenStreamError, SessionProtocol, State
from infrafabric.v1 import session_server_pb2 as server_pb2
from infrafabric.v1.coordinator_service_pb2 import OpenSessionResponse
from infrafabric.v1.session_client_pb2 import ClientFrame, CreateFrame
from infrafabric.v1.status_pb2 import STATUS_BUSY
from infrafabric.v1.task_pb2 import Task
from tests.unit.client.wire import Wire, claims, completes, kinds, says, settings


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
