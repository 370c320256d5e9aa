"""Readers that do not read: they cost bounded memory, others no time, and miss nothing."""

import asyncio
import statistics
import time
from contextlib import AsyncExitStack
from pathlib import Path

import grpc
import pytest

from infrafabric import Client
from infrafabric.v1.notify_service_pb2 import NotifyRequest
from infrafabric.v1.status_pb2 import STATUS_HELP
from tests.harness.proxy import Proxy
from tests.harness.server import ServerProcess
from tests.integration.fire.followers import (
    Follower,
    SessionFollower,
    WatchFollower,
    catch_up,
)

# Each kind of reader, once with a client that does not read and once with a stalled network.
READERS = 15
ROUNDS = 30
TEXTS = 100
STATUSES = 50
# The longest text that may be sent.
LENGTH = 4_096
# Every reader is offered all texts, the watches also all statuses.
OFFERED = ROUNDS * LENGTH * READERS * (4 * TEXTS + 2 * STATUSES)
# What the readers may cost beyond the same traffic without them, in bytes.
MEMORY = 64 * 1024 * 1024
# Median of a round with the readers, over that without them. They are read from, framed and
# queued, which costs something; being waited for would cost a hundred times as much.
SLOWDOWN = 4.0

# Without this a client's window grows to many megabytes, and it reads ahead of its program.
_SMALL_WINDOW = (("grpc.http2.bdp_probe", 0), ("grpc.use_local_subchannel_pool", 1))


def memory(server: ServerProcess) -> int:
    """Return the most that a server has had resident so far, in bytes."""
    status = Path(f"/proc/{server.pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def text(number: int) -> str:
    return f"{number:06}".ljust(LENGTH, "x")


async def traffic(client: Client, number: int) -> float:
    """Send one round of texts and statuses; return the seconds that it took."""
    began = time.perf_counter()
    for text_number in range(number * TEXTS, (number + 1) * TEXTS, 10):
        # In order, as the readers are to find them.
        for place in range(10):
            await client.statuses.broadcast(text(text_number + place))
        async with asyncio.TaskGroup() as group:
            for swarm in range(STATUSES * 10 // TEXTS):
                report = NotifyRequest(
                    swarm_id=f"n{swarm}", status=STATUS_HELP, message=text(text_number)
                )
                group.create_task(client.statuses.notify(report))
    return time.perf_counter() - began


async def readers(stack: AsyncExitStack, address: str, name: str) -> list[Follower]:
    """Return readers that have begun, on a connection of their own."""
    channel = await stack.enter_async_context(grpc.aio.insecure_channel(address, _SMALL_WINDOW))
    found: list[Follower] = []
    for number in range(READERS):
        found += [SessionFollower(channel, f"{name}-{number}"), WatchFollower(channel)]
    await asyncio.gather(*(follower.begin() for follower in found))
    return found


async def server_in(stack: AsyncExitStack, path: Path) -> tuple[ServerProcess, Client]:
    environment = {"INFRAFABRIC_LEASE_SECONDS": "300"}
    server = await stack.enter_async_context(ServerProcess(path, environment=environment))
    return server, await stack.enter_async_context(Client(server.grpc))


@pytest.mark.timeout(150)
async def test_c4_n10_readers_that_never_read_are_bounded_and_miss_nothing(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    async with AsyncExitStack() as stack:
        server, client = await server_in(stack, tmp_path_factory.mktemp("readers"))
        bare, control = await server_in(stack, tmp_path_factory.mktemp("control"))
        proxy = await stack.enter_async_context(Proxy(server.grpc))
        idle = await readers(stack, server.grpc, "idle")
        stalled = await readers(stack, proxy.address, "stalled")
        before, bare_before = memory(server), memory(bare)
        proxy.stall()
        taken: list[float] = []
        bare_taken: list[float] = []
        for number in range(ROUNDS):
            taken.append(await traffic(client, number))
            bare_taken.append(await traffic(control, number))
        grown, bare_grown = memory(server) - before, memory(bare) - bare_before
        assert grown - bare_grown < MEMORY < OFFERED / 10, (grown, bare_grown)
        ratio = statistics.median(taken) / statistics.median(bare_taken)
        assert ratio < SLOWDOWN, ratio

        proxy.flow()
        last = text(ROUNDS * TEXTS - 1)
        await asyncio.gather(*(catch_up(follower, last) for follower in (*idle, *stalled)))
    texts = [text(number) for number in range(ROUNDS * TEXTS)]
    for follower in (*idle, *stalled):
        assert follower.texts == texts
        assert follower.cuts or follower.overflows == isinstance(follower, SessionFollower)
