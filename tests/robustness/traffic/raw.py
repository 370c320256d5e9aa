"""A swarm that speaks frames itself, as no library would: late, twice, or not at all."""

import asyncio
from contextlib import suppress
from typing import Any

from infrafabric.channel import open_channel
from infrafabric.errors import Refused, TryAgain, Unreachable
from infrafabric.refusals import from_status
from infrafabric.v1.session_client_pb2 import (
    AckFrame,
    BlockerFrame,
    ClaimFrame,
    ClientFrame,
    CompleteFrame,
    CostFrame,
    DeclineFrame,
    FailFrame,
    HeartbeatFrame,
    OpenFrame,
    ProgressFrame,
    ReleaseFrame,
)
from infrafabric.v1.session_server_pb2 import (
    TASK_DELIVERY_OFFERED,
    OpenedFrame,
    ReplyFrame,
    TaskFrame,
)
from tests.integration.fire.raw import RawSession, StreamOverError
from tests.robustness.setups.setup import pick
from tests.robustness.traffic.actor import DEADLINE, Stepper, World
from tests.robustness.traffic.spending import MOST_AT_A_TIME

_BEAT = 0.8
# How long a stream may take to be opened.
_OPENING = 4.0


class RawWorker(Stepper):
    """Opens one stream after another, with or without the token of the last one.

    It confirms most of its tasks, declines some, claims offers, and speaks for claims of the past.

    Args:
        name: in the history, and of the swarm.
        world: what it shares with the others.
        capability: what it can do.
    """

    def __init__(self, name: str, world: World, *, capability: str) -> None:
        super().__init__(name, world)
        self._opening = OpenFrame(swarm_id=name, capabilities=[capability], slots=2)
        # Costs whose outcome is unknown: they are said again, under the same id.
        self._unsure: list[ClientFrame] = []

    async def step(self) -> None:
        """Live through one stream."""
        address = pick(self.world.setup, self.chance).grpc.address
        if self.chance.random() < 0.3:
            self._opening.resume_token = ""
        async with open_channel(address) as channel:
            stream = RawSession(channel, self._opening)
            try:
                async with asyncio.timeout(_OPENING):
                    opened = await stream.open()
                await self._live(stream, opened)
            except (StreamOverError, TimeoutError):
                pass
            finally:
                await stream.drop()
                numbers = [frame.sequence for frame in stream.frames]
                self.recorder.see(self.name, "stream", sequences=numbers)
        await self.pause(0.0, 0.5)

    async def _live(self, stream: RawSession, opened: OpenedFrame) -> None:
        """Work on what comes, until the stream ends or has lived long enough."""
        self._opening.resume_token = opened.resume_token
        lives = self.chance.uniform(3.0, 12.0)
        working: set[asyncio.Task[None]] = set()
        beating = asyncio.create_task(self._beat(stream))
        spending = asyncio.create_task(self._repeat(stream))
        read = 0
        try:
            async with asyncio.timeout(None if self.world.closing.is_set() else lives):
                while not self.world.over.is_set():
                    frame = await stream.heard_after(read, lambda frame: frame.HasField("task"))
                    read = stream.frames.index(frame) + 1
                    task = asyncio.create_task(self._work(stream, frame.task))
                    working.add(task)
                    task.add_done_callback(working.discard)
        finally:
            for task in (*working, beating, spending):
                task.cancel()
            await asyncio.gather(*working, beating, spending, return_exceptions=True)

    async def _beat(self, stream: RawSession) -> None:
        with suppress(StreamOverError):
            while not self.world.over.is_set():
                await stream.say(ClientFrame(heartbeat=HeartbeatFrame()))
                await self.pause(_BEAT, _BEAT)
        await stream.drop()

    async def _work(self, stream: RawSession, frame: TaskFrame) -> None:
        task_id, attempt = frame.task.task_id, frame.task.attempt
        try:
            if frame.delivery == TASK_DELIVERY_OFFERED:
                await self._offered(stream, task_id)
            else:
                await self._given(stream, task_id, attempt)
        except (Unreachable, TryAgain, StreamOverError):
            # The next stream is brought the task again.
            await stream.drop()
        except Refused:
            return

    async def _offered(self, stream: RawSession, task_id: str) -> None:
        wanted = self.world.closing.is_set() or self.chance.random() < 0.8
        if not wanted:
            await self._decline(stream, task_id, 0)
            return
        reply = await self._ask(
            stream,
            "claim",
            ClientFrame(claim=ClaimFrame(task_id=task_id)),
            answer=lambda said: {
                "claimed": said.claim.claimed,
                "attempt": said.claim.task.attempt,
            },
            task_id=task_id,
        )
        if reply.claim.claimed:
            self.holds(task_id, reply.claim.task.attempt, self.name)
            await self._end(stream, task_id, reply.claim.task.attempt)

    async def _given(self, stream: RawSession, task_id: str, attempt: int) -> None:
        about: dict[str, Any] = {"swarm_id": self.name, "task_id": task_id, "attempt": attempt}
        self.recorder.see(self.name, "received", **about)
        self.holds(task_id, attempt, self.name)
        way = self.chance.random()
        if not self.world.closing.is_set():
            if way < 0.1:
                return  # it is taken back, for nobody has confirmed it
            if way < 0.2:
                await self._decline(stream, task_id, attempt)
                return
        await stream.ask(ClientFrame(ack=AckFrame(task_id=task_id, attempt=attempt)))
        await self._end(stream, task_id, attempt)

    async def _decline(self, stream: RawSession, task_id: str, attempt: int) -> None:
        frame = DeclineFrame(task_id=task_id, attempt=attempt, reason="not now")
        await self._ask(stream, "decline", ClientFrame(decline=frame), task_id=task_id)

    async def _end(self, stream: RawSession, task_id: str, attempt: int) -> None:
        """Do something for a claim, and then end it, in most cases."""
        about: dict[str, Any] = {"task_id": task_id, "attempt": attempt}
        if self.chance.random() < 0.5:
            note = f"note-{self.recorder.tag()}"
            said = ProgressFrame(**about, milestone_percent=50, note=note)
            await self._ask(stream, "progress", ClientFrame(progress=said), tag=note, **about)
        if self.chance.random() < 0.4:
            operation = f"op-{self.recorder.tag()}"
            micros = self.chance.randint(1, MOST_AT_A_TIME)
            cost = CostFrame(**about, operation=operation, cost_micros=micros)
            await self._spend(stream, ClientFrame(request_id=operation, cost=cost))
        await self.pause(0.0, 0.2)
        tag = self.price()
        ways = ["complete"] * 6 + ["fail"]
        if not self.world.closing.is_set():
            ways += ["release", "block"]
        way = self.chance.choice(ways)
        text = f"{way}-{tag}"
        match way:
            case "complete":
                frame = ClientFrame(complete=CompleteFrame(**about, cost_micros=tag))
            case "fail":
                frame = ClientFrame(fail=FailFrame(**about, reason=text))
            case "release":
                frame = ClientFrame(release=ReleaseFrame(**about, reason=text))
            case _:
                frame = ClientFrame(blocker=BlockerFrame(**about, description=text))
        await self._ask(stream, way, frame, tag=tag if way == "complete" else text, **about)
        if way != "block" and self.chance.random() < 0.3:
            # Said for a claim that is over.
            note = f"late-{self.recorder.tag()}"
            said = ProgressFrame(**about, milestone_percent=75, note=note)
            await self._ask(stream, "progress", ClientFrame(progress=said), tag=note, **about)

    async def _repeat(self, stream: RawSession) -> None:
        """Say again what was cut off; it is charged once."""
        again, self._unsure = self._unsure, []
        try:
            while again:
                with suppress(Refused):
                    await self._spend(stream, again.pop())
        except (Unreachable, StreamOverError):
            return
        finally:
            self._unsure += again

    async def _spend(self, stream: RawSession, frame: ClientFrame) -> None:
        said = frame.cost
        about = {"task_id": said.task_id, "attempt": said.attempt, "micros": said.cost_micros}
        self._unsure.append(frame)
        try:
            await self._ask(stream, "cost", frame, tag=said.operation, **about)
        except TryAgain:
            raise
        except Refused:
            self._unsure.remove(frame)
            raise
        self._unsure.remove(frame)

    async def _ask(
        self, stream: RawSession, kind: str, frame: ClientFrame, **noted: Any
    ) -> ReplyFrame:
        """Say one thing and note the answer; see `Recorder.call`."""

        async def asked() -> ReplyFrame:
            try:
                async with asyncio.timeout(DEADLINE):
                    (reply,) = await stream.ask(frame)
            except (StreamOverError, TimeoutError) as error:
                raise Unreachable(f"no answer: {error}") from error
            if reply.HasField("error"):
                raise from_status(reply.error)
            return reply

        return await self.recorder.call(self.name, kind, asked, swarm_id=self.name, **noted)
