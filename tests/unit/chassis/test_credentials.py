"""X6: whatever happens, in whatever order, a token is good as long as its claim, and no longer."""

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from infrafabric_server.chassis.credentials.credentials import Credentials
from infrafabric_server.chassis.credentials.models import MAX_CREDENTIALS, Endpoint
from infrafabric_server.coordinator.models import Dispatch, TaskSpec, TaskState
from infrafabric_server.errors import FabricError, Reason
from infrafabric_server.governor.policy.book import PolicyBook
from infrafabric_server.store.memory import MemoryStore
from infrafabric_server.witness.outbox import Outbox
from tests.contract.clock import SteppedClock
from tests.harness.fabric import Fabric, running_fabric

TTL, LIFE = timedelta(seconds=40), timedelta(seconds=25)
SWARMS = ("s1", "s2")
HERE = Endpoint(scheme="https", host="example.org", port=443, path="/", methods=("GET",))
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("claim"), st.sampled_from(SWARMS)),
        st.tuples(st.sampled_from(["release", "extend", "sweep"]), st.none()),
        st.tuples(st.just("issue"), st.sampled_from(["", "", *SWARMS])),
        st.tuples(st.just("revoke"), st.integers(0, 3)),
        st.tuples(st.just("wait"), st.integers(1, 50)),
    ),
    min_size=12,
    max_size=30,
)


@dataclass
class Expected:
    """What the test knows of a token."""

    token: str
    credential_id: str
    swarm_id: str
    attempt: int
    until: datetime
    revoked: bool = False


class Trial:
    """A fabric with one task, its credentials, and what is expected of them."""

    def __init__(self, fabric: Fabric, credentials: Credentials, clock: SteppedClock) -> None:
        self.fabric = fabric
        self.credentials = credentials
        self.clock = clock
        self.known: list[Expected] = []

    async def step(self, what: str, which: str | int | None) -> None:
        """Do one thing; that the fabric refuses it may be right, too."""
        claims, task = self.fabric.coordinator.claims, self.fabric.task("t")
        holder = task.claim.swarm_id if task.claim else "s1"
        try:
            match what, which:
                case "claim", str(swarm_id):
                    await claims.claim_anew(swarm_id, "t", TTL)
                case "release", _:
                    await claims.release(holder, "t", task.attempt, "")
                case "extend", _:
                    await claims.extend(holder, "t", task.attempt, ttl=TTL)
                case "sweep", _:
                    await self.credentials.sweep()
                case "issue", str(swarm_id):
                    await self.issue(swarm_id or holder)
                case "revoke", int(number):
                    await self.revoke(number)
                case _, int(seconds):
                    await self.clock.advance(seconds)
        except FabricError:
            if what not in ("release", "extend", "issue"):
                raise
        await self.fabric.settled()

    async def issue(self, swarm_id: str) -> None:
        task = self.fabric.task("t")
        try:
            made = await self.credentials.issue(swarm_id, "t", task.attempt, LIFE, (HERE,))
        except FabricError as error:
            if error.reason is Reason.LIMIT_REACHED:
                assert sum(map(self.good, self.known)) == MAX_CREDENTIALS
            else:
                assert not self.claimed(swarm_id, task.attempt)
            raise
        assert self.claimed(swarm_id, task.attempt)
        until = self.clock.now() + LIFE
        place = (made.credential.credential_id, swarm_id, task.attempt, until)
        self.known.append(Expected(made.token, *place))

    async def revoke(self, number: int) -> None:
        for each in self.known[number : number + 1]:
            await self.credentials.revoke(each.credential_id)
            each.revoked = True

    def claimed(self, swarm_id: str, attempt: int) -> bool:
        """Tell whether the claim lives, as the task says."""
        task = self.fabric.task("t")
        held = task.state is TaskState.CLAIMED and task.last_owner == swarm_id
        if not held or task.attempt != attempt or task.claim is None:
            return False
        return task.claim.expire_time is None or self.clock.now() < task.claim.expire_time

    def good(self, each: Expected) -> bool:
        """Tell whether a token should be valid."""
        alive = not each.revoked and self.clock.now() < each.until
        return alive and self.claimed(each.swarm_id, each.attempt)

    async def check(self) -> None:
        """Fail unless exactly those tokens are valid that should be."""
        for each in self.known:
            verdict = await self.credentials.validate(each.token, None)
            assert (verdict.denial is None) == self.good(each), (each, verdict)


@settings(max_examples=40, deadline=None)
@given(steps=STEPS)
def test_x6_a_token_is_as_good_as_its_claim(steps: list[tuple[str, str | int | None]]) -> None:
    asyncio.run(_try(steps))


async def _try(steps: list[tuple[str, str | int | None]]) -> None:
    store, clock = await MemoryStore.open(), SteppedClock()
    async with running_fabric(store, clock=clock) as fabric:
        for swarm_id in SWARMS:
            await fabric.join(swarm_id)
        await fabric.create((TaskSpec(task_id="t", create_time=clock.now()), Dispatch.MANUAL))
        outbox = Outbox(clock, "test", ())
        tasks = fabric.coordinator.tasks
        made = Credentials(fabric.mirror, tasks, outbox, fabric.flood, clock, PolicyBook())
        trial = Trial(fabric, made, clock)
        for what, which in steps:
            await trial.step(what, which)
            await trial.check()
        await trial.credentials.sweep()
        await trial.check()
    await store.close()
