"""Frames out of order, twice and too late on one stream, and streams that fight for a swarm."""

import asyncio
import itertools
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass

import grpc
import pytest

from infrafabric import Client, errors
from infrafabric.channel import open_channel
from infrafabric.refusals import from_status
from infrafabric.v1.session_client_pb2 import (
    AckFrame,
    ClaimFrame,
    ClientFrame,
    CompleteFrame,
    HeartbeatFrame,
    OpenFrame,
    ProgressFrame,
    ReleaseFrame,
)
from infrafabric.v1.session_server_pb2 import CLOSING_ACTION_RESUME, CLOSING_ACTION_STOP, ReplyFrame
from infrafabric.v1.task_pb2 import (
    DISPATCH_MANUAL,
    TASK_STATE_CLAIMED,
    TASK_STATE_COMPLETED,
    Task,
)
from tests.harness.server import ServerProcess
from tests.integration.fire.chance import seeded
from tests.integration.fire.raw import RawSession, StreamOverError

KINDS = ("claim", "progress", "complete", "release")


@pytest.fixture
async def client(shared_server: ServerProcess) -> AsyncIterator[Client]:
    async with Client(shared_server.grpc) as it:
        yield it


@pytest.fixture
async def channel(shared_server: ServerProcess) -> AsyncIterator[grpc.aio.Channel]:
    async with open_channel(shared_server.grpc) as it:
        yield it


@dataclass(slots=True)
class Model:
    """What the contract says of one task and one swarm that speaks of its first attempt."""

    attempt: int = 0
    held: bool = False
    ended_by: str = ""

    def answer(self, kind: str) -> str:
        """Return how a frame is answered: "" when it takes effect, or repeats one that did."""
        if kind == "claim":
            return self._claim()
        if self.ended_by == kind:
            return ""
        if self.attempt != 1:
            return "StaleAttempt"
        if self.ended_by == "complete":
            return "TaskEnded"
        if not self.held:
            return "TaskNotClaimed"
        if kind in ("complete", "release"):
            self.held, self.ended_by = False, kind
        return ""

    def _claim(self) -> str:
        if self.ended_by == "complete":
            return "not claimed"
        if not self.held:
            self.held, self.attempt = True, self.attempt + 1
        return ""


def frame(kind: str, task_id: str) -> ClientFrame:
    """Return a frame; all but a claim speak of the first attempt."""
    match kind:
        case "claim":
            return ClientFrame(claim=ClaimFrame(task_id=task_id))
        case "progress":
            progress = ProgressFrame(task_id=task_id, attempt=1, milestone_percent=25)
            return ClientFrame(progress=progress)
        case "complete":
            return ClientFrame(complete=CompleteFrame(task_id=task_id, attempt=1))
        case _:
            return ClientFrame(release=ReleaseFrame(task_id=task_id, attempt=1))


def outcome(reply: ReplyFrame) -> str:
    """Return how a frame was answered, as the model says it."""
    if reply.HasField("error"):
        return type(from_status(reply.error)).__name__
    if reply.HasField("claim") and not reply.claim.claimed:
        return "not claimed"
    return ""


def mixed(stories: dict[str, list[str]], chance: random.Random) -> list[tuple[str, str]]:
    """Return the frames of all stories in one order that keeps each story's own."""
    turns = [task_id for task_id, kinds in stories.items() for _ in kinds]
    chance.shuffle(turns)
    left = {task_id: iter(kinds) for task_id, kinds in stories.items()}
    return [(task_id, next(left[task_id])) for task_id in turns]


async def test_c10_frames_in_any_order_and_number_are_answered_as_the_contract_says(
    client: Client, channel: grpc.aio.Channel
) -> None:
    chance = seeded()
    stories: dict[str, list[str]] = {}
    for number, order in enumerate(itertools.permutations(KINDS)):
        doubled = [kind for kind in order for _ in range(2)]
        # And once more from the start, as after a cut, and then anything.
        stories[f"any-{number}"] = [*doubled, *order, *chance.choices(KINDS, k=12)]
    await client.tasks.create_all(Task(task_id=it, dispatch=DISPATCH_MANUAL) for it in stories)
    said = mixed(stories, chance)
    async with RawSession(channel, OpenFrame(swarm_id="any-order", slots=64)) as session:
        # All at once: no message waits for the answer to the one before.
        answers = await asyncio.gather(
            *(
                session.ask(*(frame(kind, task_id) for task_id, kind in said[start : start + 64]))
                for start in range(0, len(said), 64)
            )
        )
    models = {task_id: Model() for task_id in stories}
    expected = [(task_id, kind, models[task_id].answer(kind)) for task_id, kind in said]
    replies = itertools.chain.from_iterable(answers)
    assert [
        (task_id, kind, outcome(reply))
        for (task_id, kind), reply in zip(said, replies, strict=True)
    ] == expected
    for task_id, model in models.items():
        task = await client.tasks.get(task_id)
        assert task.attempt == model.attempt
        assert (task.state == TASK_STATE_COMPLETED) == (model.ended_by == "complete")
        assert (task.state == TASK_STATE_CLAIMED) == model.held


@pytest.mark.parametrize(
    ("frames", "error"),
    [
        ([ClientFrame(open=OpenFrame(swarm_id="broken"))], errors.SessionProtocol),
        ([ClientFrame()], errors.SessionProtocol),
        ([], errors.InvalidField),
        ([ClientFrame(heartbeat=HeartbeatFrame())] * 65, errors.InvalidField),
    ],
    ids=["open twice", "empty frame", "no frame", "too many frames"],
)
async def test_c10_broken_message_ends_the_stream_and_not_the_session(
    client: Client,
    channel: grpc.aio.Channel,
    frames: list[ClientFrame],
    error: type[errors.FabricError],
) -> None:
    opening = OpenFrame(swarm_id="broken", slots=64)
    task = await client.tasks.create(Task(dispatch=DISPATCH_MANUAL))
    claim = ClientFrame(claim=ClaimFrame(task_id=task.task_id))
    async with RawSession(channel, opening) as session:
        await session.ask(claim)
        await session.say(*frames)
        assert type(await session.ended()) is error
        closing = await session.heard(lambda it: it.HasField("closing"))
        assert closing.closing.action == CLOSING_ACTION_RESUME
        welcome = (await session.heard(lambda it: it.HasField("opened"))).opened
    opening.resume_token = welcome.resume_token
    again = RawSession(channel, opening)
    resumed = await again.open()
    assert resumed.resumed
    assert [(it.task_id, it.attempt) for it in resumed.owned] == [(task.task_id, 1)]
    await again.ask(frame("complete", task.task_id))
    await again.drop()


async def test_c10_stream_that_does_not_open_is_refused(channel: grpc.aio.Channel) -> None:
    session = RawSession(channel, OpenFrame())
    with pytest.raises(StreamOverError):
        await session.open()
    assert type(await session.ended()) is errors.InvalidField


async def test_c10_newer_stream_fences_the_older_and_what_it_still_says(
    client: Client, channel: grpc.aio.Channel
) -> None:
    opening = OpenFrame(swarm_id="twins", capabilities=["twins"])
    await client.tasks.create(Task(task_id="fenced", required_capabilities=["twins"]))
    async with RawSession(channel, opening) as first:
        assert (await first.heard(lambda it: it.HasField("task"))).task.task.attempt == 1
        async with RawSession(channel, opening) as second:
            assert isinstance(await first.ended(), errors.SessionFenced)
            closing = await first.heard(lambda it: it.HasField("closing"))
            assert closing.closing.action == CLOSING_ACTION_STOP
            with pytest.raises(StreamOverError):
                await first.ask(frame("complete", "fenced"))
            with pytest.raises(errors.StaleAttempt):
                await client.claims.complete("twins", "fenced", 1)
            brought = (await second.heard(lambda it: it.HasField("task"))).task.task
            assert (brought.task_id, brought.attempt) == ("fenced", 2)
            late, now = await second.ask(
                frame("complete", "fenced"),
                ClientFrame(complete=CompleteFrame(task_id="fenced", attempt=2)),
            )
            assert outcome(late) == "StaleAttempt"
            assert outcome(now) == ""


async def test_c10_of_many_streams_of_one_swarm_the_newest_stays(
    client: Client, channel: grpc.aio.Channel
) -> None:
    await client.tasks.create(Task(task_id="fought-for", required_capabilities=["crowd"]))
    opening = OpenFrame(swarm_id="crowd", capabilities=["crowd"])
    sessions = [RawSession(channel, opening) for _ in range(20)]
    welcomes = await asyncio.gather(*(session.open() for session in sessions))
    epochs = [welcome.session_epoch for welcome in welcomes]
    newest = sessions[epochs.index(max(epochs))]
    assert len(set(epochs)) == len(sessions)
    for session in sessions:
        if session is not newest:
            assert isinstance(await session.ended(), errors.SessionFenced)
    brought = (await newest.heard(lambda it: it.HasField("task"))).task.task
    ack = AckFrame(task_id=brought.task_id, attempt=brought.attempt)
    (acknowledged,) = await newest.ask(ClientFrame(ack=ack))
    assert outcome(acknowledged) == ""
    swarm = await client.swarms.get("crowd")
    assert (swarm.session_epoch, list(swarm.claimed_task_ids)) == (max(epochs), ["fought-for"])
    assert (await client.tasks.get("fought-for")).attempt == brought.attempt
    await newest.drop()
