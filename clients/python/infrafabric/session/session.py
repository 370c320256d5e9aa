"""A swarm's session, as a worker or an orchestrator uses it."""

import asyncio
import random as randomness
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import grpc

from infrafabric import addresses
from infrafabric.channel import open_channel
from infrafabric.errors import StaleAttempt
from infrafabric.session.deliveries import Deliveries
from infrafabric.session.exchange import Exchange
from infrafabric.session.handle import TaskHandle
from infrafabric.session.link import Link, Surroundings
from infrafabric.session.protocol import SessionProtocol, Settings, State
from infrafabric.v1.blocker_pb2 import Blocker
from infrafabric.v1.governor_breaker_pb2 import HaltFrame
from infrafabric.v1.help_pb2 import HelpRequest
from infrafabric.v1.session_client_pb2 import (
    SESSION_ROLE_WORKER,
    BlockerFrame,
    ClaimFrame,
    ClientFrame,
    CostFrame,
    CreateFrame,
    OpenFrame,
    SessionRole,
    StatusFrame,
)
from infrafabric.v1.session_server_pb2 import CostReply, StatusReply
from infrafabric.v1.status_pb2 import BroadcastMessage, Status
from infrafabric.v1.task_pb2 import ClaimRefusal, Task

# How long the end of a session waits for the server's goodbye.
_CLOSE_LIMIT = 2.0


@dataclass(frozen=True, slots=True)
class ClaimOutcome:
    """How a claim ended: with the task, or with the reason and the owner.

    Attributes:
        task: the task, when the claim was won.
        refusal: why it was not won.
        owner_swarm_id: who holds the task, as far as is known.
    """

    task: TaskHandle | None
    refusal: ClaimRefusal.ValueType
    owner_swarm_id: str


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """What few sessions need to change.

    Attributes:
        model: model that the swarm runs on, at most 128 characters.
        credential_pool: account at a provider that the swarm shares; "" leaves what is registered.
        window: tasks that the server may send before they are taken out of the session,
            1 to 1000; None means 64 offers and one task for each slot.
        resume_token: `Session.resume_token` of the swarm's last process, to keep its claims.
        channel: opens the channel of each stream; None means plaintext to the target.
        clock: returns seconds that never go back.
        sleep: waits for some seconds.
        random: returns a number in [0, 1); spreads sessions over servers, heartbeats and
            reconnections.
    """

    model: str = ""
    credential_pool: str = ""
    window: int | None = None
    resume_token: str = ""
    channel: Callable[[], grpc.aio.Channel] | None = None
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    random: Callable[[], float] = randomness.random


class Session:
    """One swarm's live connection: tasks come in, reports go out, over any number of cuts.

    For example::

        async with Session("127.0.0.1:50051", swarm_id="s1", capabilities=["ocr"]) as session:
            async for task in session:
                async with task.guard():
                    await task.complete(await work(task.input))

    While the server is away the swarm goes on working: the last status, the last milestone
    of each task and every decision wait and are sent when the connection is back.

    Args:
        target: the server, as `host:port`; of several, separated by commas or in a list, each
            stream goes to the next one, and the claims stay.
        swarm_id: who connects; registered when it is unknown.
        capabilities: what it can do, at most 64; empty leaves what is registered.
        slots: tasks that it works on at the same time, 1 to 64; 0 leaves what is registered.
        role: worker, or orchestrator (which gets blocker alerts and no tasks).
        cost_per_hour_micros: price of an hour in micro-US-dollars; None leaves what is
            registered.
        on_offer: tells whether to claim a task that is on offer, when a slot is free; None
            claims every offer.
        options: what few sessions need to change.
    """

    def __init__(
        self,
        target: str | Iterable[str],
        *,
        swarm_id: str,
        capabilities: Iterable[str] = (),
        slots: int = 1,
        role: SessionRole.ValueType = SESSION_ROLE_WORKER,
        cost_per_hour_micros: int | None = None,
        on_offer: Callable[[Task], bool] | None = None,
        options: SessionOptions | None = None,
    ) -> None:
        options = options or SessionOptions()
        opening = OpenFrame(
            swarm_id=swarm_id,
            capabilities=capabilities,
            slots=slots,
            role=role,
            cost_per_hour_micros=cost_per_hour_micros,
            model=options.model,
            credential_pool=options.credential_pool,
        )
        self._protocol = SessionProtocol(
            Settings(
                open=opening,
                # Request ids live for a day: two processes of a swarm must not share them.
                request_prefix=secrets.token_hex(8),
                window=options.window or 64 + max(1, slots),
                wanted=on_offer or _every_offer,
                random=options.random,
                resume_token=options.resume_token,
            )
        )
        self._exchange = Exchange(self._protocol)
        around = Surroundings(
            channel=options.channel or _channels(target, options.random),
            clock=options.clock,
            sleep=options.sleep,
            random=options.random,
        )
        self._deliveries = Deliveries(self._exchange)
        self._link = Link(self._protocol, self._deliveries, self._exchange.wake, around)
        self._runner: asyncio.Task[None] | None = None
        self._crash: BaseException | None = None

    async def __aenter__(self) -> Self:
        self._runner = asyncio.create_task(self._link.run(), name="infrafabric session")
        self._runner.add_done_callback(self._ended)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._runner is not None, "entered before"
        self._protocol.close("the session was left")
        self._exchange.wake.set()
        try:
            await asyncio.wait({self._runner}, timeout=_CLOSE_LIMIT)
        finally:
            self._runner.cancel()
            await asyncio.gather(self._runner, return_exceptions=True)
        if error is None and self._crash is not None:
            raise self._crash

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> TaskHandle:
        """Return the next task that is claimed for this session.

        Raises:
            SessionFenced: another process of the same swarm took over.
            SessionStopped: the server ended the session.
            FabricError: the server refused the session.
        """
        while True:
            handle, counted = await anext(self._deliveries.tasks)
            if counted:
                self._protocol.consumed()
                self._exchange.wake.set()
            if not handle.revoked.is_set():
                return handle

    @property
    def connected(self) -> bool:
        """Whether the stream is open at the moment."""
        return self._protocol.state is State.OPEN

    @property
    def resume_token(self) -> str:
        """Token with which another process of the swarm keeps the claims; a secret."""
        return self._protocol.resume_token

    async def opened(self) -> None:
        """Return when the stream is open.

        Raises:
            FabricError: the session is over.
        """
        await self._deliveries.opened.wait()
        self._exchange.check()

    def broadcasts(self) -> AsyncIterator[BroadcastMessage]:
        """Iterate over texts for everyone, those of the last cut included.

        The newest 1000 wait here.
        """
        return self._deliveries.broadcasts

    def alerts(self) -> AsyncIterator[Blocker]:
        """Iterate over incidents, for an orchestrator; the newest 1000 wait here."""
        return self._deliveries.alerts

    def halts(self) -> AsyncIterator[HaltFrame]:
        """Iterate over orders to stop all work, because a circuit breaker is open.

        Each has been followed already: what was held is given back, and every guard cancelled.
        """
        return self._deliveries.halts

    def help_wanted(self) -> AsyncIterator[HelpRequest]:
        """Iterate over requests for help that the swarm has to do with, at each change of them.

        It is asked (`Client.help.accept` takes the offer) when it is among `asked_swarm_ids`, and
        helps when among `helper_swarm_ids`, until the state is ENDED; or `swarm_id` is its own.
        The same may come again after a cut; the newest 1000 wait here.
        """
        return self._deliveries.help_wanted

    async def status(
        self,
        status: Status.ValueType,
        *,
        task_id: str = "",
        message: str = "",
        needs: Iterable[str] = (),
        cost_spent_micros: int = 0,
    ) -> StatusReply | None:
        """Report what the swarm is doing; without a connection the last report is kept.

        Args:
            status: the status.
            task_id: task that it is about, an id or free text of at most 256 characters.
            message: why it is blocked or what help it wants, at most 4096 characters.
            needs: capabilities that would help, at most 64.
            cost_spent_micros: what this process spent so far, in micro-US-dollars.

        Returns:
            The answer, or None when the report waits for a connection.

        Raises:
            FabricError: the report was refused, or the session is over.
        """
        frame = StatusFrame(
            status=status,
            task_id=task_id,
            message=message,
            needs=needs,
            cost_spent_micros=cost_spent_micros,
        )
        reply = await self._exchange.report(ClientFrame(status=frame), "status")
        return reply.status if reply else None

    async def claim(self, task_id: str) -> ClaimOutcome:
        """Claim a task; losing is an answer.

        Args:
            task_id: the task.

        Raises:
            StaleAttempt: the claim was won and lost again before it could be handed over.
            FabricError: the claim was refused as invalid, or the session is over.
        """
        reply = (await self._exchange.decide(ClientFrame(claim=ClaimFrame(task_id=task_id)))).claim
        handle = None
        if reply.claimed:
            handle = self._deliveries.held(task_id, reply.task.attempt)
            if handle is None:
                raise StaleAttempt(f"the claim on {task_id} was lost as soon as it was won")
        return ClaimOutcome(handle, reply.refusal, reply.owner_swarm_id)

    async def create(self, tasks: Iterable[Task]) -> list[str]:
        """Create tasks, all or none; safe over cuts.

        Args:
            tasks: 1 to 1000 tasks, at most 3 MiB together.

        Returns:
            Their ids, in order.

        Raises:
            FabricError: the tasks were refused, or the session is over.
        """
        reply = await self._exchange.decide(ClientFrame(create=CreateFrame(tasks=tasks)))
        return list(reply.create.task_ids)

    async def cost(self, operation: str, micros: int, *, help_id: str = "") -> CostReply:
        """Report a cost of the swarm itself, or of its help; charged once, over cuts too.

        For a task that is held, use `TaskHandle.cost`.

        Args:
            operation: what for, such as `llm.completion`.
            micros: how much, in micro-US-dollars, 1 to 10^12.
            help_id: request that it helped with, whose task is charged; "" for none.

        Returns:
            What the swarm's account has left, and with a request what all its helpers have.

        Raises:
            FabricError: the cost was refused, or the session is over.
        """
        frame = CostFrame(operation=operation, cost_micros=micros, help_id=help_id)
        return (await self._exchange.decide(ClientFrame(cost=frame))).cost

    async def report_blocker(self, description: str, needs: Iterable[str] = ()) -> Blocker:
        """Tell the orchestrator of something that keeps the swarm from going on.

        For a task that is held, use `TaskHandle.block`.

        Args:
            description: what is wrong, 1 to 4096 characters.
            needs: capabilities that would help, at most 64.

        Raises:
            FabricError: the report was refused, or the session is over.
        """
        frame = BlockerFrame(description=description, needs=needs)
        return (await self._exchange.decide(ClientFrame(blocker=frame))).blocker

    def _ended(self, runner: asyncio.Task[None]) -> None:
        if not runner.cancelled():
            self._crash = _only(runner.exception())
        self._deliveries.end(self._protocol.stopped_by or self._crash)


def _channels(
    target: str | Iterable[str], random: Callable[[], float]
) -> Callable[[], grpc.aio.Channel]:
    turns = addresses.in_turn(addresses.split(target), random)
    return lambda: open_channel(next(turns))


def _every_offer(task: Task) -> bool:
    del task
    return True


def _only(error: BaseException | None) -> BaseException | None:
    # A failed task of a group comes wrapped; alone, it says more without the wrapper.
    if isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        return _only(error.exceptions[0])
    return error
