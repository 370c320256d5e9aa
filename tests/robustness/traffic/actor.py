"""What all clients have in common: a name, chance of their own, a server to ask, a history."""

import asyncio
import random
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import grpc

from infrafabric import Client, FabricError
from infrafabric.calls import Calls
from infrafabric.channel import open_channel
from infrafabric.errors import TryAgain, Unreachable
from tests.robustness.history import Recorder
from tests.robustness.setups.setup import Setup, pick

T = TypeVar("T")

# More than is ever reported for an attempt before it is completed, which says what all of it cost.
_REPORTED = 100_000

# A frozen server is given up soon: the answer is unknown then, which is what is wanted.
DEADLINE = 3.0


@dataclass(slots=True)
class World:
    """What the clients of a run share.

    Attributes:
        setup: the servers.
        recorder: takes the history.
        seed: of the run.
        closing: set when no new work is begun and all is to be finished.
        over: set when everything is done, or was waited for long enough.
        open: tasks that were seen and have not ended.
        manual: tasks that wait to be claimed by hand, as far as was seen.
        claimed: claims that somebody was told of: task, attempt and swarm.
    """

    setup: Setup
    recorder: Recorder
    seed: int
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    over: asyncio.Event = field(default_factory=asyncio.Event)
    open: set[str] = field(default_factory=set)
    manual: set[str] = field(default_factory=set)
    claimed: list[tuple[str, int, str]] = field(default_factory=list)

    def chance(self, name: str) -> random.Random:
        """Return a generator for one client: the same one for the same seed."""
        return random.Random(f"{self.seed}/{name}")


class Running(Protocol):
    """A client."""

    async def run(self) -> None:
        """Be at work until the run is over."""
        ...


class Actor:
    """A client that asks one server after another.

    Args:
        name: in the history.
        world: what it shares with the others.
    """

    def __init__(self, name: str, world: World) -> None:
        self.name = name
        self.world = world
        self.recorder = world.recorder
        self.chance = world.chance(name)
        self._stack = AsyncExitStack()
        self._client: Client | None = None

    async def client(self) -> Client:
        """Return a client of the server that is asked at the moment."""
        if self._client is None:
            address = pick(self.world.setup, self.chance).grpc.address
            client = Client(address, calls=Calls(deadline=DEADLINE))
            self._client = await self._stack.enter_async_context(client)
        return self._client

    async def move(self) -> None:
        """Ask any server from now on."""
        await self.leave()
        self._client = None

    def channel(self) -> grpc.aio.Channel:
        """Open a channel to any server."""
        return open_channel(pick(self.world.setup, self.chance).grpc.address)

    async def pause(self, least: float, most: float) -> None:
        """Wait for a while, or until the run is over."""
        try:
            async with asyncio.timeout(self.chance.uniform(least, most)):
                await self.world.over.wait()
        except TimeoutError:
            return

    async def ask(
        self,
        kind: str,
        request: Callable[[Client], Awaitable[T]],
        *,
        tag: object = "",
        answer: Callable[[T], dict[str, Any]] = lambda _: {},
        **fields: Any,
    ) -> T | FabricError:
        """Make one unary request; see `Recorder.call`. A failure is returned."""
        client = await self.client()
        try:
            return await self.recorder.call(
                self.name, kind, lambda: request(client), tag=tag, answer=answer, **fields
            )
        except FabricError as error:
            if isinstance(error, Unreachable | TryAgain):
                await self.pause(0.02, 0.2)
                await self.move()
            return error

    async def insist(
        self, kind: str, request: Callable[[Client], Awaitable[T]], **noted: Any
    ) -> T | FabricError:
        """Ask again and again until the outcome is known; see `ask`."""
        while True:
            result = await self.ask(kind, request, **noted)
            passing = isinstance(result, Unreachable | TryAgain)
            if not passing or self.world.over.is_set():
                return result

    def price(self) -> int:
        """Return what a completion is to cost: its tag, more than was reported for the attempt."""
        return _REPORTED + self.recorder.tag()

    def holds(self, task_id: str, attempt: int, swarm_id: str) -> None:
        """Tell the others of a claim, so that somebody may misuse it."""
        self.world.claimed.append((task_id, attempt, swarm_id))

    async def leave(self) -> None:
        """Close what is open."""
        await self._stack.aclose()


class Stepper(Actor, ABC):
    """A client that does one thing after another."""

    async def run(self) -> None:
        """Be at work until the run is over."""
        try:
            while not self.world.over.is_set():
                await self.step()
        finally:
            await self.leave()

    @abstractmethod
    async def step(self) -> None:
        """Do one thing."""
