"""Every call of the contract, with generated garbage: refused clearly, and never an inner error.

The server is a real process and the messages are built from the contract itself, so that a
call that is added later is attacked as well.
"""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from grpc_status import rpc_status
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infrafabric import Client, errors
from infrafabric.v1 import (
    chassis_service_pb2,
    coordinator_service_pb2,
    error_pb2,
    governor_service_pb2,
    notify_service_pb2,
    session_client_pb2,
    witness_service_pb2,
)
from infrafabric.v1.task_pb2 import Task
from tests.harness.server import ServerProcess
from tests.harness.setups import Setup

MODULES = (
    chassis_service_pb2,
    coordinator_service_pb2,
    governor_service_pb2,
    notify_service_pb2,
    session_client_pb2,
    witness_service_pb2,
)
METHODS: list[MethodDescriptor] = [
    method
    for module in MODULES
    for service in module.DESCRIPTOR.services_by_name.values()
    for method in service.methods
]
UNARY = [method for method in METHODS if not method.server_streaming]
WATCHES = [m for m in METHODS if m.server_streaming and not m.client_streaming]
SANE = ("s1", "t1", "ada", "")
IDS = st.sampled_from(SANE)
TEXTS = st.one_of(
    IDS,
    st.text(max_size=20),
    st.sampled_from(["x" * 129, "y" * 5000, "../etc", "a b", "\x00", "ü", "-a", "a/b"]),
)
NUMBERS = {
    FieldDescriptor.TYPE_INT32: st.one_of(st.integers(-3, 101), st.integers(-(2**31), 2**31 - 1)),
    FieldDescriptor.TYPE_INT64: st.one_of(st.integers(-3, 101), st.integers(-(2**63), 2**63 - 1)),
    FieldDescriptor.TYPE_BOOL: st.booleans(),
    FieldDescriptor.TYPE_BYTES: st.sampled_from([b"", b"\0asm\1\0\0\0", b"garbage"]),
    FieldDescriptor.TYPE_DOUBLE: st.one_of(st.floats(), st.floats(-1, 11)),
}
WILD = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def scalars(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    """Return values for a field that is no message."""
    if field.enum_type is not None:
        return st.integers(-1, 9)
    return NUMBERS.get(field.type, TEXTS)


@st.composite
def messages(draw: st.DrawFn, descriptor: Descriptor, depth: int = 0) -> Message:
    """Return a message whose fields hold anything that the wire can carry."""
    message = GetMessageClass(descriptor)()
    for field in descriptor.fields:
        if depth > 4 or not draw(st.booleans()):
            continue
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            continue
        if field.is_repeated:
            target = getattr(message, field.name)
            for _ in range(draw(st.sampled_from([1, 2, 3, 70]) if depth < 2 else st.just(1))):
                if field.message_type is not None:
                    target.add().CopyFrom(draw(messages(field.message_type, depth + 1)))
                else:
                    target.append(draw(scalars(field)))
        elif field.message_type is not None:
            nested = draw(messages(field.message_type, depth + 1))
            getattr(message, field.name).CopyFrom(nested)
        else:
            setattr(message, field.name, draw(scalars(field)))
    return message


@pytest.fixture(scope="module")
def address(setup: Setup, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the address of a server that all of these calls attack."""
    server = ServerProcess(tmp_path_factory.mktemp(f"bad_input-{setup}"))
    with asyncio.Runner() as runner:
        runner.run(server.start())
        yield server.grpc
        runner.run(server.kill())
    log = (Path(server.data).parent / "server.log").read_text()
    assert '"level": "error"' not in log, log[-5000:]


@pytest.fixture(scope="module")
def channel(address: str) -> Iterator[grpc.Channel]:
    """Return a channel to the server."""
    with grpc.insecure_channel(address) as opened:
        yield opened


def path_of(method: MethodDescriptor) -> str:
    """Return the name of a method on the wire."""
    return f"/{method.containing_service.full_name}/{method.name}"


def check_refusal(error: Any, request: Message) -> None:
    """Fail unless a refusal has a reason of the contract and names fields that exist."""
    assert error.code() not in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN), error.details()
    status = rpc_status.from_call(error)
    assert status is not None, error.details()
    check_details(status, request)


def check_details(status: Any, request: Message) -> None:
    """Fail unless the details of a status say why, and where."""
    info, bad = ErrorInfo(), BadRequest()
    for detail in status.details:
        for known in (info, bad):
            if detail.Is(known.DESCRIPTOR):
                detail.Unpack(known)
    assert info.domain == "infrafabric"
    assert info.reason in set(error_pb2.ErrorReason.keys()), info.reason
    if status.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]:
        assert bad.field_violations, status
        for violation in bad.field_violations:
            assert violation.description
            first = violation.field.split(".")[0].split("[")[0]
            assert first in request.DESCRIPTOR.fields_by_name, violation.field


@pytest.mark.parametrize("method", UNARY, ids=lambda method: str(method.name))
@WILD
@given(data=st.data())
def test_u1_garbage_is_refused_by_every_call(
    method: MethodDescriptor, channel: grpc.Channel, data: st.DataObject
) -> None:
    request = data.draw(messages(method.input_type))
    call: Callable[..., Message] = channel.unary_unary(
        path_of(method),
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=GetMessageClass(method.output_type).FromString,
    )
    try:
        call(request, timeout=20)
    except grpc.RpcError as error:
        check_refusal(error, request)


async def test_u1_board_whose_answer_would_not_fit_is_refused_before_it_is_created(
    address: str,
) -> None:
    board = [Task(task_id=f"long-{number}", required_capabilities=["none"]) for number in range(16)]
    for task in board:
        # Numbers take more room as a message than as JSON.
        task.input.update({"numbers": [1] * 18_000})
    async with Client(address) as client:
        with pytest.raises(errors.InvalidField, match="tasks: must take at most"):
            await client.tasks.create_all(board)
        assert len(await client.tasks.create_all(board[:15])) == 15


@pytest.mark.parametrize("method", WATCHES, ids=lambda method: str(method.name))
@WILD
@given(data=st.data())
def test_u1_garbage_is_refused_by_every_watch(
    method: MethodDescriptor, channel: grpc.Channel, data: st.DataObject
) -> None:
    request = data.draw(messages(method.input_type))
    watch: Callable[..., Any] = channel.unary_stream(
        path_of(method),
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=GetMessageClass(method.output_type).FromString,
    )
    stream = watch(request, timeout=0.3)
    try:
        next(stream, None)
    except grpc.RpcError as error:
        if error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED:
            check_refusal(error, request)
    finally:
        stream.cancel()


FRAME = session_client_pb2.ClientFrame.DESCRIPTOR


@WILD
@given(data=st.data())
def test_u1_garbage_frames_are_answered_in_band(channel: grpc.Channel, data: st.DataObject) -> None:
    opening = coordinator_service_pb2.OpenSessionRequest()
    opening.frames.add().open.swarm_id = "garbage"
    frame = data.draw(messages(FRAME))
    assert isinstance(frame, session_client_pb2.ClientFrame)
    frame.ClearField("open")
    kind = frame.WhichOneof("frame")
    if kind is None:
        return
    frame.request_id = "asked"
    request = coordinator_service_pb2.OpenSessionRequest()
    request.frames.add().CopyFrom(frame)
    open_session: Callable[..., Any] = channel.stream_stream(
        "/infrafabric.v1.CoordinatorService/OpenSession",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=coordinator_service_pb2.OpenSessionResponse.FromString,
    )
    stream = open_session(iter([opening, request]), timeout=20)
    if kind == "heartbeat":
        stream.cancel()
        return
    for response in stream:
        for said in response.frames:
            if said.WhichOneof("frame") != "reply":
                continue
            assert said.reply.request_id == "asked"
            if said.reply.WhichOneof("result") == "error":
                assert said.reply.error.code != grpc.StatusCode.INTERNAL.value[0], said
                if said.reply.error.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]:
                    check_details(said.reply.error, sub_of(said.reply.error, frame, kind))
            stream.cancel()
            return


def sub_of(status: Any, frame: Message, kind: str) -> Message:
    """Return the message whose fields a refusal of a frame names: the frame, or its content."""
    for detail in status.details:
        bad = BadRequest()
        if detail.Is(bad.DESCRIPTOR):
            detail.Unpack(bad)
            first = bad.field_violations[0].field.split(".")[0].split("[")[0]
            if first not in frame.DESCRIPTOR.fields_by_name:
                content: Message = getattr(frame, kind)
                return content
    return frame
