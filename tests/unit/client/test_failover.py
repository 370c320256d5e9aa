"""Calls over several servers: which of them is asked, and what is asked twice."""

import re
import socket
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import message_factory
from grpc_status import rpc_status

from infrafabric import Calls, Client, errors, failover
from infrafabric.v1 import (
    coordinator_service_pb2,
    error_pb2,
    governor_service_pb2,
    notify_service_pb2,
    witness_service_pb2,
)
from infrafabric.v1 import coordinator_task_pb2 as pb2
from infrafabric.v1.task_pb2 import Task
from infrafabric_server.edge.methods import READ_ONLY
from tests.unit.client.fabric_model import status_of

Context = grpc.aio.ServicerContext[Any, Any]
Answer = Callable[[Context], Awaitable[None]]

CONTRACT = Path(__file__).parents[3] / "proto/infrafabric/v1"
SERVICES = [
    module.DESCRIPTOR.services_by_name[name]
    for module, name in (
        (coordinator_service_pb2, "CoordinatorService"),
        (governor_service_pb2, "GovernorService"),
        (notify_service_pb2, "NotifyService"),
        (witness_service_pb2, "WitnessService"),
    )
]


async def serve(_context: Context) -> None:
    """Do what was asked."""


async def break_off(context: Context) -> None:
    """Fail as a connection does that is cut in the middle."""
    await context.abort(grpc.StatusCode.UNAVAILABLE, "cut")


def refuse(reason: error_pb2.ErrorReason.ValueType) -> Answer:
    """Return what refuses for a reason."""

    async def answer(context: Context) -> None:
        await context.abort_with_status(rpc_status.to_status(status_of(reason)))

    return answer


drain = refuse(error_pb2.ERROR_REASON_DRAINING)
lose_the_store = refuse(error_pb2.ERROR_REASON_STORE_UNAVAILABLE)


@dataclass(eq=False)
class Replica:
    """A server that counts what it is asked.

    Attributes:
        answer: what becomes of a call; may refuse it.
        calls: how often each was made.
        cursors: where each watch began.
    """

    answer: Answer = serve
    port: int = 0
    calls: Counter[str] = field(default_factory=Counter)
    cursors: list[str] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def get(self, request: pb2.GetTaskRequest, context: Context) -> pb2.GetTaskResponse:
        self.calls["get"] += 1
        await self.answer(context)
        return pb2.GetTaskResponse(task=Task(task_id=request.task_id))

    async def create(
        self, request: pb2.CreateTaskRequest, context: Context
    ) -> pb2.CreateTaskResponse:
        self.calls["create"] += 1
        await self.answer(context)
        return pb2.CreateTaskResponse(task=request.task)

    async def watch(
        self, request: pb2.WatchTasksRequest, context: Context
    ) -> AsyncIterator[pb2.WatchTasksResponse]:
        self.cursors.append(request.after_cursor)
        event = pb2.TaskEvent(cursor=f"after {request.after_cursor or 'nothing'}")
        yield pb2.WatchTasksResponse(events=[event])
        await self.answer(context)


@asynccontextmanager
async def running(*replicas: Replica) -> AsyncIterator[list[grpc.aio.Server]]:
    """Run replicas on free ports."""
    servers = []
    for replica in replicas:
        server = grpc.aio.server()
        methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            "GetTask": grpc.unary_unary_rpc_method_handler(
                replica.get, pb2.GetTaskRequest.FromString, pb2.GetTaskResponse.SerializeToString
            ),
            "CreateTask": grpc.unary_unary_rpc_method_handler(
                replica.create,
                pb2.CreateTaskRequest.FromString,
                pb2.CreateTaskResponse.SerializeToString,
            ),
            "WatchTasks": grpc.unary_stream_rpc_method_handler(
                replica.watch,
                pb2.WatchTasksRequest.FromString,
                pb2.WatchTasksResponse.SerializeToString,
            ),
        }
        handler = grpc.method_handlers_generic_handler(SERVICES[0].full_name, methods)
        server.add_generic_rpc_handlers((handler,))
        replica.port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        servers.append(server)
    try:
        yield servers
    finally:
        for server in servers:
            await server.stop(None)


def client_of(*replicas: Replica) -> Client:
    """Return a client that begins with the first one, and does not wait for long."""
    return Client([replica.address for replica in replicas], calls=Calls(random=lambda: 0.0))


async def get(client: Client) -> Task:
    return await client.tasks.get("t")


async def create(client: Client) -> Task:
    return await client.tasks.create(Task(task_id="t"))


async def create_with_id(client: Client) -> Task:
    return await client.tasks.create(Task(task_id="t"), request_id="r")


CALLS = {"read": get, "create": create, "create with id": create_with_id}


@pytest.fixture
async def two() -> AsyncIterator[tuple[Replica, Replica]]:
    replicas = Replica(), Replica()
    async with running(*replicas):
        yield replicas


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
async def test_what_never_reached_a_dead_server_goes_to_the_next(
    call: Callable[[Client], Awaitable[Task]],
) -> None:
    dead, alive = Replica(), Replica()
    async with running(dead, alive) as (server, _), client_of(dead, alive) as client:
        await server.stop(None)
        assert (await call(client)).task_id == "t"
    assert alive.calls.total() == 1


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
async def test_a_server_that_drains_is_left(
    call: Callable[[Client], Awaitable[Task]], two: tuple[Replica, Replica]
) -> None:
    first, second = two
    first.answer = drain
    async with client_of(*two) as client:
        for _ in range(3):
            await call(client)
    assert (first.calls.total(), second.calls.total()) == (1, 3)


@pytest.mark.parametrize("failing", [break_off, lose_the_store])
@pytest.mark.parametrize("call", [get, create_with_id])
async def test_without_an_answer_only_what_may_be_repeated_is(
    failing: Answer, call: Callable[[Client], Awaitable[Task]], two: tuple[Replica, Replica]
) -> None:
    first, second = two
    first.answer = failing
    async with client_of(*two) as client:
        await call(client)
    assert (first.calls.total(), second.calls.total()) == (1, 1)


@pytest.mark.parametrize("failing", [break_off, lose_the_store])
async def test_without_an_answer_a_creation_without_an_id_is_not_repeated(
    failing: Answer, two: tuple[Replica, Replica]
) -> None:
    first, second = two
    first.answer = failing
    async with client_of(*two) as client:
        with pytest.raises((errors.Unreachable, errors.StoreUnavailable)):
            await create(client)
        assert not second.calls
        # What is asked next is asked elsewhere.
        await create(client)
    assert (first.calls.total(), second.calls.total()) == (1, 1)


async def test_a_refusal_is_the_answer_of_all(two: tuple[Replica, Replica]) -> None:
    first, second = two
    first.answer = refuse(error_pb2.ERROR_REASON_TASK_NOT_FOUND)
    async with client_of(*two) as client:
        for _ in range(2):
            with pytest.raises(errors.TaskNotFound):
                await get(client)
    assert (first.calls.total(), second.calls.total()) == (2, 0)


async def test_each_server_is_asked_once(two: tuple[Replica, Replica]) -> None:
    for replica in two:
        replica.answer = drain
    async with client_of(*two) as client:
        with pytest.raises(errors.Draining):
            await get(client)
    assert [replica.calls.total() for replica in two] == [1, 1]


async def test_nobody_is_there() -> None:
    replicas = Replica(), Replica()
    async with running(*replicas) as servers:
        for server in servers:
            await server.stop(None)
        async with client_of(*replicas) as client:
            with pytest.raises(errors.Unreachable, match="refused"):
                await get(client)


async def test_a_server_that_only_listens_is_left() -> None:
    replica = Replica()
    with socket.create_server(("127.0.0.1", 0)) as mute:
        silent = Replica(port=mute.getsockname()[1])
        async with running(replica), client_of(silent, replica) as client:
            await create(client)
    assert replica.calls.total() == 1


async def test_n10_a_watch_goes_on_at_another_server_where_it_stood(
    two: tuple[Replica, Replica],
) -> None:
    first, second = two
    first.answer = drain
    async with client_of(*two) as client:
        events = client.tasks.watch()
        assert (await anext(events)).cursor == "after nothing"
        assert (await anext(events)).cursor == "after after nothing"
    assert (first.cursors, second.cursors[0]) == ([""], "after nothing")


def test_repeats_what_the_contract_calls_safe_to_repeat() -> None:
    comments = dict(_comments())
    checked = 0
    for service in SERVICES:
        for method in service.methods:
            request: Any = message_factory.GetMessageClass(method.input_type)()
            comment = comments[method.name]
            with_id = "same request id" in comment
            safe = "Safe to repeat" in comment or f"/{service.full_name}/{method.name}" in READ_ONLY
            if method.server_streaming:
                continue
            assert failover.repeatable(request) == (safe and not with_id), method.name
            if with_id:
                request.request_id = "r"
                assert failover.repeatable(request), method.name
            checked += 1
    assert checked > 20


def _comments() -> Iterator[tuple[str, str]]:
    """Yield each call of the contract and the comment above it."""
    for path in CONTRACT.glob("*_service.proto"):
        comment = ""
        for line in path.read_text().splitlines():
            if found := re.match(r"\s*rpc (\w+)", line):
                yield found[1], comment
            comment = f"{comment} {line.strip(' /')}" if line.strip().startswith("//") else ""
