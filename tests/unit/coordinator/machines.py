"""What state machines over a running fabric have in common."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from hypothesis.stateful import RuleBasedStateMachine

from infrafabric_server.coordinator.build import Limits
from infrafabric_server.store.memory import MemoryData, MemoryStore
from tests.harness.fabric import Fabric, running_fabric

T = TypeVar("T")


async def serve(data: MemoryData, ready: asyncio.Future[Fabric], stop: asyncio.Event) -> None:
    """Run a fabric over `data`, without leases that end by themselves, until `stop`."""
    store = await MemoryStore.open(data)
    async with running_fabric(store, limits=Limits(lease=3600, ack=3600)) as fabric:
        ready.set_result(fabric)
        await stop.wait()
    await store.close()


class Machine(RuleBasedStateMachine):
    """A machine over what runs in a loop of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()

    async def quiet(self) -> None:
        """Return when nothing more follows."""
        raise NotImplementedError

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` and everything that follows from it."""

        async def settled() -> T:
            try:
                return await work
            finally:
                await self.quiet()

        return self.loop.run_until_complete(asyncio.wait_for(settled(), 20))


class FabricMachine(Machine):
    """A machine with one fabric, which `serve` starts over what the last one left."""

    fabric: Fabric

    def __init__(self) -> None:
        super().__init__()
        self.data = MemoryData()

    async def quiet(self) -> None:
        """See Machine."""
        await self.fabric.settled()

    def serve(self) -> None:
        """Start the fabric."""
        ready: asyncio.Future[Fabric] = self.loop.create_future()
        self.stop = asyncio.Event()
        self.serving = self.loop.create_task(serve(self.data, ready, self.stop))
        self.fabric = self.loop.run_until_complete(ready)

    def end(self) -> None:
        """End the fabric."""
        self.stop.set()
        self.loop.run_until_complete(self.serving)

    def teardown(self) -> None:
        """End the fabric, and the machine."""
        self.end()
        self.loop.close()
