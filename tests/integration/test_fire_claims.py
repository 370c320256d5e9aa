"""Many claimants for each task, over unary calls and streams, some of them cut in mid-call."""

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest

from infrafabric import Client
from infrafabric.channel import open_channel
from infrafabric.v1.coordinator_claim_pb2 import ClaimTaskRequest, ClaimTaskResponse
from infrafabric.v1.coordinator_service_pb2_grpc import CoordinatorServiceStub
from infrafabric.v1.session_client_pb2 import ClaimFrame, ClientFrame, OpenFrame
from infrafabric.v1.session_server_pb2 import ClaimReply
from infrafabric.v1.task_pb2 import (
    CLAIM_REFUSAL_ALREADY_CLAIMED,
    CLAIM_REFUSAL_LOST_RACE,
    CLAIM_REFUSAL_NO_SLOT,
    DISPATCH_MANUAL,
    TASK_STATE_CLAIMED,
    Task,
)
from infrafabric.values import from_struct
from tests.harness.server import ServerProcess
from tests.integration.fire.evidence import entries, owners
from tests.integration.fire.raw import RawSession, StreamOverError

SEED = 64
TASKS = 500
UNARY = 32
STREAMS = 32
# Tasks that all claimants fight for at the same time.
ROUND = 25
CHANNELS = 4
# Every so many claimants repeat each of their claims, and as many are cut in mid-call.
SOME = 8
# A call is cut at a random moment within these seconds: about as long as a fight takes.
MOMENT = 0.2

_LOSSES = {CLAIM_REFUSAL_ALREADY_CLAIMED, CLAIM_REFUSAL_LOST_RACE, CLAIM_REFUSAL_NO_SLOT}


@dataclass(slots=True)
class Record:
    """What the claimants were told, and the claims of which they do not know the end."""

    wins: defaultdict[str, Counter[tuple[str, int]]] = field(
        default_factory=lambda: defaultdict(Counter)
    )
    refusals: Counter[str] = field(default_factory=Counter)
    named_owners: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    unknown: set[tuple[str, str]] = field(default_factory=set)
    chance: random.Random = field(default_factory=lambda: random.Random(SEED))

    async def moment(self) -> None:
        """Return at the moment of a cut; whatever moment it is, the verdict is the same."""
        await asyncio.sleep(self.chance.random() * MOMENT)

    def told(self, swarm_id: str, task_id: str, answer: ClaimTaskResponse | ClaimReply) -> None:
        """Note an answer."""
        if answer.claimed:
            self.wins[task_id][swarm_id, answer.task.attempt] += 1
            return
        assert answer.refusal in _LOSSES, answer
        self.refusals[swarm_id] += 1
        if answer.owner_swarm_id:
            self.named_owners[task_id].add(answer.owner_swarm_id)


class UnaryClaimant:
    """Claims by calls; `cut` leaves them in the middle, `repeats` makes each several times."""

    def __init__(
        self, swarm_id: str, channel: grpc.aio.Channel, record: Record, *, cut: bool, repeats: bool
    ) -> None:
        self.swarm_id = swarm_id
        self._stub = CoordinatorServiceStub(channel)
        self._record = record
        self._cut = cut
        self._repeats = repeats

    async def claim(self, task_ids: Iterable[str]) -> None:
        """Claim all tasks at the same time."""
        async with asyncio.TaskGroup() as group:
            for task_id in task_ids:
                group.create_task(self._claim(task_id))
                if self._repeats:
                    group.create_task(self._claim(task_id))

    async def _claim(self, task_id: str) -> None:
        request = ClaimTaskRequest(swarm_id=self.swarm_id, task_id=task_id)
        call = self._stub.ClaimTask(request, timeout=30)
        if self._cut:
            await self._record.moment()
            call.cancel()
        try:
            answer = await call
        except asyncio.CancelledError:
            if not self._cut:
                raise
            self._record.unknown.add((self.swarm_id, task_id))
            return
        self._record.told(self.swarm_id, task_id, answer)


class StreamClaimant:
    """Claims by frames of one session; `cut` drops the stream under them and resumes."""

    def __init__(
        self, swarm_id: str, channel: grpc.aio.Channel, record: Record, *, cut: bool, repeats: bool
    ) -> None:
        self.swarm_id = swarm_id
        self._channel = channel
        self._record = record
        self._cut = cut
        self._times = 2 if repeats else 1
        self._opening = OpenFrame(swarm_id=swarm_id, slots=64)
        self._session = RawSession(channel, self._opening)

    async def open(self) -> None:
        """Open the stream; a second time with the token of the first."""
        self._session = RawSession(self._channel, self._opening)
        self._opening.resume_token = (await self._session.open()).resume_token

    async def close(self) -> None:
        """Drop the stream."""
        await self._session.drop()

    async def claim(self, task_ids: Iterable[str]) -> None:
        """Claim all tasks in one message."""
        wanted = [task_id for task_id in task_ids for _ in range(self._times)]
        frames = [ClientFrame(claim=ClaimFrame(task_id=task_id)) for task_id in wanted]
        asking = asyncio.create_task(self._session.ask(*frames))
        if self._cut:
            await self._record.moment()
            await self._session.drop()
        try:
            replies = await asking
        except StreamOverError:
            self._record.unknown |= {(self.swarm_id, task_id) for task_id in wanted}
        else:
            for task_id, reply in zip(wanted, replies, strict=True):
                self._record.told(self.swarm_id, task_id, reply.claim)
        if self._cut:
            await self.open()


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ServerProcess]:
    # No session is lost and no claim expires, however slow the machine is.
    calm = {"INFRAFABRIC_LEASE_SECONDS": "120", "INFRAFABRIC_ACK_SECONDS": "120"}
    async with ServerProcess(tmp_path, environment=calm) as it:
        yield it


async def claimants(
    stack: AsyncExitStack, server: ServerProcess, client: Client, record: Record
) -> list[UnaryClaimant | StreamClaimant]:
    """Return all claimants, registered and connected."""
    channels = [await stack.enter_async_context(open_channel(server.grpc)) for _ in range(CHANNELS)]
    everyone: list[UnaryClaimant | StreamClaimant] = []
    for number in range(UNARY + STREAMS):
        kind: Callable[..., UnaryClaimant | StreamClaimant]
        kind = UnaryClaimant if number < UNARY else StreamClaimant
        claimant = kind(
            f"claimant-{number:02}",
            channels[number % CHANNELS],
            record,
            repeats=number % SOME == 0,
            cut=number % SOME == 1,
        )
        if isinstance(claimant, StreamClaimant):
            await claimant.open()
            stack.push_async_callback(claimant.close)
        else:
            await client.swarms.register(claimant.swarm_id, [], max_concurrent_tasks=64)
        everyone.append(claimant)
    return everyone


@pytest.mark.timeout(120)
async def test_c1_each_task_has_one_owner_among_64_claimants(server: ServerProcess) -> None:
    record = Record()
    chance = random.Random(SEED)
    task_ids = [f"task-{number:03}" for number in range(TASKS)]
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(Client(server.grpc))
        everyone = await claimants(stack, server, client, record)
        await client.tasks.create_all(
            Task(task_id=task_id, dispatch=DISPATCH_MANUAL) for task_id in task_ids
        )
        for start in range(0, TASKS, ROUND):
            fights: list[Awaitable[None]] = []
            for claimant in chance.sample(everyone, len(everyone)):
                wanted = chance.sample(task_ids[start : start + ROUND], ROUND)
                fights.append(claimant.claim(wanted))
            await asyncio.gather(*fights)

        held = [await client.tasks.get(task_id) for task_id in task_ids]
        sealed = await owners(client)
        refused = await entries(client, "claim_refused")

    assert {(task.state, task.attempt) for task in held} == {(TASK_STATE_CLAIMED, 1)}
    assert record.unknown, "no claim was cut in its middle"
    stored = {task.task_id: task.owner_swarm_id for task in held}
    assert sealed == {(task_id, 1): owner for task_id, owner in stored.items()}
    for task_id, owner in stored.items():
        # Nobody but the owner was told to have won, however often it asked.
        assert set(record.wins[task_id]) <= {(owner, 1)}
        assert record.wins[task_id] or (owner, task_id) in record.unknown
        assert record.named_owners[task_id] <= {owner}
    # Each refusal that was told is counted; of claims that were cut nobody knows how they ended.
    counted = Counter[str]()
    for entry in refused:
        counted[entry.swarm_id] += from_struct(entry.details)["count"]
    for claimant in everyone:
        cut = sum(swarm_id == claimant.swarm_id for swarm_id, _ in record.unknown)
        told = record.refusals[claimant.swarm_id]
        assert told <= counted[claimant.swarm_id] <= told + cut
