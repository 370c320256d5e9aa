"""Swarms at several replicas that are late, freeze, die and change their leader, all at once."""

import asyncio
import random
from collections import Counter, defaultdict
from contextlib import aclosing, suppress
from functools import partial

import pytest

from infrafabric_server.bus.local import Hub
from infrafabric_server.coordinator.build import Limits
from infrafabric_server.coordinator.frames import Opened
from infrafabric_server.coordinator.link import SessionLink
from infrafabric_server.coordinator.models import Task, TaskState
from infrafabric_server.errors import FabricError
from infrafabric_server.store.protocol import StoreError
from infrafabric_server.witness.models import Draft
from tests.harness.fabric import Fabric
from tests.harness.lines import Line
from tests.harness.replicas import Cluster, End, Replica, running_cluster
from tests.unit.coordinator.links import said
from tests.unit.coordinator.test_races import NAMES, ROLES, Crowd, check, some_turns

ROUNDS = 40
SLOTS = {name: 1 + number % 3 for number, name in enumerate(NAMES)}
# What begins an attempt, and what ends a task.
BEGINNINGS = ("claim_won", "task_assigned", "claim_taken_over")


class MoodyEnd(End):
    """An end of the bus that hears late, in another order, or not at all."""

    def __init__(self, hub: Hub, chance: random.Random) -> None:
        super().__init__(hub)
        self._chance = chance

    def deliver(self, subject: str, payload: bytes) -> None:
        if self._chance.random() < 0.9:
            self._later(self._chance.randint(0, 12), subject, payload)

    def _later(self, turns: int, subject: str, payload: bytes) -> None:
        if turns:
            asyncio.get_running_loop().call_soon(self._later, turns - 1, subject, payload)
        else:
            super().deliver(subject, payload)


class ScatteredCrowd(Crowd):
    """A crowd whose swarms talk to any replica, and whose replicas are in trouble."""

    def __init__(self, cluster: Cluster, chance: random.Random) -> None:
        self.cluster = cluster
        self._homes: dict[str, Fabric] = {}
        self._born = 0
        self._tasks: set[asyncio.Task[None]] = set()
        super().__init__(next(iter(cluster.replicas.values())).fabric, chance)

    @property
    def fabric(self) -> Fabric:
        """Any replica."""
        return self.chance.choice(list(self.cluster.replicas.values())).fabric

    @fabric.setter
    def fabric(self, fabric: Fabric) -> None:
        """Ignore the only replica of the usual crowd."""

    def home(self, swarm_id: str) -> Fabric:
        return self._homes.get(swarm_id) or self.fabric

    def begin(self) -> None:
        """Begin to do something, which a frozen replica may hold up."""
        doing = asyncio.create_task(self._try())
        self._tasks.add(doing)
        doing.add_done_callback(self._tasks.discard)

    async def _try(self) -> None:
        with suppress(StoreError):
            await self.act()

    async def join(self, swarm_id: str) -> None:
        fabric = self.fabric
        token = self.tokens.get(swarm_id, "") if self.chance.random() < 0.5 else ""
        link = await fabric.join(
            swarm_id,
            {"x", "y"} if swarm_id < "s3" else {"y", "z"},
            slots=SLOTS[swarm_id],
            credit=self.chance.choice([None, None, 5]),
            token=token,
            role=self.chance.choice(ROLES),
        )
        self.links[swarm_id], self._homes[swarm_id] = link, fabric
        for frame in await said(link):
            if isinstance(frame, Opened):
                self.tokens[swarm_id] = frame.resume_token

    async def trouble(self) -> None:
        """Let something happen to a replica."""
        name = self.chance.choice(list(self.cluster.replicas))
        replica = self.cluster[name]
        match self.chance.choice(["late", "freeze", "heal", "heal", "lead", "lead", "die"]):
            case "late":
                replica.fall_behind()
            case "freeze":
                replica.line.freeze()
            case "heal":
                for each in self.cluster.replicas.values():
                    each.come_along()
                    each.line.thaw()
            case "lead":
                for each in self.cluster.replicas.values():
                    if self.chance.random() < 0.7:
                        each.lead(leading=False)
                replica.lead()
            case _ if self._born < 3 and not any(each.line.frozen for each in self.others(name)):
                await self.die(name)

    def others(self, name: str) -> list[Replica]:
        return [each for each in self.cluster.replicas.values() if each.name != name]

    async def die(self, name: str) -> None:
        """Let a replica die, and another one start."""
        dead = await self.cluster.kill(name)
        for swarm_id in [each for each, home in self._homes.items() if home is dead.fabric]:
            del self._homes[swarm_id]
            link = self.links.pop(swarm_id, None)
            if link is not None:
                link.drop()
        self._born += 1
        await self.add(f"born{self._born}")

    async def add(self, name: str) -> None:
        """Start a replica with a bad line and a bad bus."""
        line = Line(self.cluster.store, partial(some_turns, self.chance))
        await self.cluster.add(name, line, bus=MoodyEnd(self.cluster.hub, self.chance))

    async def calm_down(self) -> None:
        """Heal everything, let one lead, and let all make up their minds about offers."""
        replicas = list(self.cluster.replicas.values())
        for each in replicas:
            each.come_along()
            each.line.thaw()
        if self._tasks:
            await asyncio.wait(self._tasks)
        for each in replicas:
            each.lead(leading=False)
        self.chance.choice(replicas).lead()
        await self.cluster.settled()
        for swarm_id, link in list(self.links.items()):
            if not link.live:
                self.home(swarm_id).coordinator.sessions.detach(link)
                del self.links[swarm_id]
        live = {link.lease for each in replicas for link in each.fabric.parts.links.live()}
        for kv in (await self.cluster.store.range("sessions/")).kvs:
            if kv.lease not in live:
                await self.cluster.store.revoke(kv.lease)
        for _ in range(3):
            await self.cluster.pass_time(1.1)
            for each in replicas:
                await self._decide(each.fabric, each.fabric.parts.links.live())

    async def _decide(self, fabric: Fabric, links: list[SessionLink]) -> None:
        for link in links:
            for task_id in list(link.offered):
                self.unwanted.add((link.swarm_id, task_id))
                with suppress(FabricError):
                    await fabric.coordinator.placing.decline(link, task_id, 0)
        await self.cluster.settled()


async def history(cluster: Cluster) -> tuple[list[tuple[int, str, Task | None]], set[str]]:
    """Return every change of a task, in order, and the swarms that were forgotten."""
    found: list[tuple[int, str, Task | None]] = []
    forgotten: set[str] = set()
    last = await cluster.store.revision()
    async with aclosing(cluster.store.watch("", 1)) as batches:
        async for batch in batches:
            for event in batch.events:
                if event.key.startswith("swarms/") and event.kv is None:
                    forgotten.add(event.key.removeprefix("swarms/"))
                if event.key.startswith("tasks/"):
                    kv = event.kv
                    task = None if kv is None else Task.model_validate_json(kv.value)
                    found.append((batch.revision, event.key, task))
            if batch.revision >= last:
                break
    return found, forgotten


def check_history(changes: list[tuple[int, str, Task | None]]) -> None:
    """C1: one owner for each attempt, attempts grow, what has ended stays, no slot taken twice."""
    before: dict[str, Task] = {}
    owners: dict[tuple[str, int], str] = {}
    returned: set[str] = set()
    for revision, key, task in changes:
        if task is None:
            continue
        old = before.get(key)
        assert old is None or task.attempt >= old.attempt, f"{key} at {revision}"
        assert old is None or not old.state.ended, f"{key} changed after its end at {revision}"
        before[key] = task
        if task.claim is None:
            returned.discard(key)
            continue
        owner = owners.setdefault((key, task.attempt), task.claim.swarm_id)
        assert owner == task.claim.swarm_id, f"{key} has two owners at {revision}"
        if old is not None and old.claim is not None and old.claim.parked:
            # A task that comes back after a blocker takes a slot, whoever has it meanwhile.
            returned.add(key)
        held = [
            each
            for name, each in before.items()
            if each.claim is not None and each.claim.swarm_id == owner and not each.claim.parked
            if name not in returned
        ]
        fresh = old is None or old.claim is None
        assert not fresh or len(held) <= SLOTS[owner], f"{owner} is overbooked at {revision}"


async def check_facts(cluster: Cluster, changes: list[tuple[int, str, Task | None]]) -> None:
    """W1: each effect has its entry, and each entry its effect."""
    page = await cluster.store.range("outbox/", limit=10_000)
    drafts = [Draft.model_validate_json(kv.value) for kv in page.kvs]
    begun = Counter((d.task_id, d.attempt) for d in drafts if d.operation in BEGINNINGS)
    seen = {(task.task_id, task.attempt) for _, _, task in changes if task and task.claim}
    assert begun == Counter(seen)
    completed = Counter(d.task_id for d in drafts if d.operation == "task_completed")
    done = {t.task_id for _, _, t in changes if t and t.state is TaskState.COMPLETED}
    assert completed == Counter(done)


def check_totals(cluster: Cluster, forgotten: set[str]) -> None:
    """N2: each completion is counted once in the status of who completed it, everywhere."""
    for replica in cluster.replicas.values():
        fabric = replica.fabric
        done: defaultdict[str, int] = defaultdict(int)
        for task in (entry.value for entry in fabric.coordinator.tasks.entries()):
            if task.state is TaskState.COMPLETED and task.last_end is not None:
                done[task.last_end.swarm_id] += 1
        for swarm_id, status in fabric.fleet.statuses.items():
            if swarm_id not in forgotten:
                assert status.tasks_completed == done[swarm_id], swarm_id
                assert status.cost_spent_micros == done[swarm_id], swarm_id


@pytest.mark.parametrize("seed", range(24))
async def test_c1_c4_whatever_happens_to_replicas_nothing_is_forgotten_or_done_twice(
    seed: int,
) -> None:
    """C1, C4, C10, N2, W1 where replicas are late, freeze, die, and believe that they lead."""
    chance = random.Random(seed)
    async with running_cluster(limits=Limits(lease=3600.0, ack=7200.0)) as cluster:
        await cluster.add("first")
        crowd = ScatteredCrowd(cluster, chance)
        for name in ("second", "third"):
            await crowd.add(name)
        cluster["first"].lead()
        for _ in range(ROUNDS):
            for _ in range(chance.randint(1, 8)):
                crowd.begin()
            if chance.random() < 0.5:
                await crowd.trouble()
            for _ in range(chance.randint(0, 30)):
                await asyncio.sleep(0)
            for link in list(crowd.links.values()):
                await said(link)
        await crowd.calm_down()
        for replica in cluster.replicas.values():
            check(replica.fabric, crowd.unwanted)
        changes, forgotten = await history(cluster)
        check_history(changes)
        await check_facts(cluster, changes)
        check_totals(cluster, forgotten)
