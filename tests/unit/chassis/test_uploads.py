"""Modules that come in pieces: nobody keeps the place of others for long."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from grpc import aio

from infrafabric.v1.chassis_module_pb2 import (
    LoadSwarmRequest,
    LoadSwarmResponse,
    UploadModuleRequest,
)
from infrafabric_server.chassis.models import ModuleKind
from infrafabric_server.chassis.modules import MIB
from infrafabric_server.chassis.service.modules import received
from infrafabric_server.chassis.service.places import Places
from infrafabric_server.errors import FabricError, InvalidField
from infrafabric_server.store.memory import MemoryStore
from tests.unit.chassis.boxes import ActedBox, running_chassis, served
from tests.unit.edge.probe import reason_of


def _any_size(_size: int) -> None:
    """Take it."""


async def _for_ever(chunk: bytes) -> AsyncIterator[UploadModuleRequest]:
    while True:
        await asyncio.sleep(0)
        yield UploadModuleRequest(chunk=chunk)


@pytest.mark.parametrize("chunk", [b"", b"x"])
async def test_x1_a_caller_that_trickles_gives_its_place_to_others(chunk: bytes) -> None:
    with pytest.raises(InvalidField, match=r"all must be there within 0\.05"):
        await received(_for_ever(chunk), _any_size, whole_seconds=0.05)


async def test_x1_pieces_are_put_together() -> None:
    async def pieces() -> AsyncIterator[UploadModuleRequest]:
        for each in (b"ab", b"", b"c"):
            yield UploadModuleRequest(chunk=each)

    assert await received(pieces(), _any_size) == b"abc"


class Compiling(ActedBox):
    """A sandbox that compiles for as long as the test likes, and counts what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = 0
        self.go_on = asyncio.Event()
        self._more = asyncio.Condition()

    async def begins(self, most: int) -> None:
        """Return when so many have begun."""
        async with self._more:
            await self._more.wait_for(lambda: self.begun == most)

    async def compile(self, module: bytes) -> ModuleKind:
        async with self._more:
            self.begun += 1
            self._more.notify_all()
        await self.go_on.wait()
        return await super().compile(module)


async def test_x1_modules_that_come_with_a_call_wait_within_a_bound() -> None:
    box, store = Compiling(), await MemoryStore.open()
    async with (
        running_chassis(lambda _policies: box, store=store) as boxed,
        served(boxed) as stub,
    ):
        await boxed.fabric.coordinator.register_swarm("s", frozenset({"any"}))
        large = LoadSwarmRequest(swarm_id="s", module=bytes(3 * MIB))
        # Two are compiled, 48 MiB wait, and one is too many.
        calls = [stub.LoadSwarm(large) for _ in range(19)]
        refused = next(asyncio.as_completed(calls))
        with pytest.raises(aio.AioRpcError, match="modules of 48 MiB wait") as error:
            await refused
        assert reason_of(error.value) == "QUEUE_FULL"
        assert box.begun == 2
        # One that is stored already takes no room, and uploads have places of their own.
        with pytest.raises(aio.AioRpcError, match="no module has the SHA-256"):
            await stub.LoadSwarm(LoadSwarmRequest(swarm_id="s", module_sha256="0" * 64))
        upload = stub.UploadModule(iter([UploadModuleRequest(chunk=b"small")]))
        await box.begins(3)
        box.go_on.set()
        assert (await upload).size_bytes == len(b"small")
        ended = await asyncio.gather(*calls, return_exceptions=True)
        assert sum(isinstance(each, LoadSwarmResponse) for each in ended) == 18
    await store.close()


async def test_x1_who_gives_up_waiting_takes_no_room_any_more() -> None:
    places = Places()
    async with AsyncExitStack() as stack:
        for _ in range(2):
            await stack.enter_async_context(places.place(MIB))
        waiting = asyncio.create_task(stack.enter_async_context(places.place(48 * MIB)))
        await asyncio.sleep(0)
        with pytest.raises(FabricError, match="48 MiB wait"):
            await stack.enter_async_context(places.place())
        waiting.cancel()
        await asyncio.wait((waiting,))
        waiting = asyncio.create_task(stack.enter_async_context(places.place(48 * MIB)))
        await asyncio.sleep(0)
        assert not waiting.done()
        waiting.cancel()
        await asyncio.wait((waiting,))
