"""X5, D6: all replicas rank alike, whoever counts, whatever they hear late, and who is killed."""

import asyncio
import random
from collections import defaultdict
from contextlib import suppress

import pytest

from infrafabric_server.chassis.keeper import Keeper
from infrafabric_server.chassis.reputation import ranked
from infrafabric_server.coordinator.models import Dispatch, FailureKind
from infrafabric_server.coordinator.registration import Joining
from infrafabric_server.governor.policy.book import PolicyBook
from infrafabric_server.governor.policy.models import Reputing
from infrafabric_server.store.protocol import StoreUnavailable
from tests.harness.fabric import new_task
from tests.harness.replicas import Cluster, Replica, running_cluster
from tests.unit.chassis.standings import AGAIN, NEEDS, keeper_of
from tests.unit.store.kit import keys

SWARMS = ("a", "b", "c")
STEPS = 60


class Trouble:
    """Attempts at some replica or other, while each of them believes that it leads."""

    def __init__(self, cluster: Cluster, chance: random.Random) -> None:
        self.cluster = cluster
        self.chance = chance
        self.behind: set[str] = set()
        self.ended: defaultdict[str, list[int]] = defaultdict(list)
        self.tasks = 0
        self.born = 0
        self.keepers = {each.name: _keeper(cluster, each) for each in cluster.awake()}

    def present(self) -> list[Replica]:
        """Return the replicas that hear of everything."""
        return [each for each in self.cluster.awake() if each.name not in self.behind]

    async def step(self) -> None:
        """Do one thing or another."""
        act = self.chance.choices(
            [self.attempt, self.count, self.fall_behind, self.come_along, self.replace],
            [10, 3, 1, 1, 1],
        )[0]
        await act()

    async def attempt(self) -> None:
        """Have a swarm claim a task at a replica, and end the attempt there."""
        fabric = self.chance.choice(self.present()).fabric
        swarm_id, self.tasks = self.chance.choice(SWARMS), self.tasks + 1
        task_id = f"t{self.tasks}"
        await fabric.create(new_task(task_id, dispatch=Dispatch.MANUAL, retry=AGAIN))
        if fabric.breakers.records.of(swarm_id).open:
            await fabric.breakers.reset(swarm_id, "Ann Lee", "failing is what it is here for")
        claims = fabric.coordinator.claims
        outcome = await claims.claim(swarm_id, task_id)
        assert outcome.claimed, outcome
        good = self.chance.random() < 0.6
        if good:
            await claims.complete(swarm_id, task_id, 1, result_json="{}", cost_micros=0)
        else:
            await claims.fail(
                swarm_id, task_id, 1, reason="no", kind=FailureKind.RETRYABLE, retry_time=None
            )
        self.ended[swarm_id].append(good)

    async def count(self) -> None:
        """Have several count at once: those that lose have counted nothing."""
        counting = [self.keepers[each.name].count() for each in self.present()]
        for found in await asyncio.gather(*counting, return_exceptions=True):
            assert isinstance(found, bool | StoreUnavailable), found

    async def fall_behind(self) -> None:
        """Have a replica hear nothing; one hears everything always."""
        if len(self.present()) > 1:
            replica = self.chance.choice(self.present())
            replica.fall_behind()
            self.behind.add(replica.name)

    async def come_along(self) -> None:
        """Have the replicas hear what they missed."""
        for name in self.behind:
            self.cluster[name].come_along()
        self.behind.clear()

    async def replace(self) -> None:
        """Kill a replica, and start another one."""
        name = self.chance.choice([each.name for each in self.cluster.awake()])
        await self.come_along()
        await self.cluster.settled()
        del self.keepers[name]
        await self.cluster.kill(name)
        self.born += 1
        born = await self.cluster.add(f"new{self.born}")
        self.keepers[born.name] = _keeper(self.cluster, born)

    def check(self) -> None:
        """Assert that every replica ranks by all that has ended, once each."""
        by = Reputing()
        for swarm_id in SWARMS:
            ended = self.ended[swarm_id]
            value = (by.prior_weight * by.prior + sum(ended)) / (by.prior_weight + len(ended))
            for replica in self.cluster.awake():
                found = replica.fabric.reputations.of(swarm_id)
                assert found == ranked(value), (replica.name, swarm_id, ended)


def _keeper(cluster: Cluster, replica: Replica) -> Keeper:
    return keeper_of(replica.fabric, cluster.clock, PolicyBook())


async def test_x5_d6_who_hears_of_a_later_count_first_ranks_right_in_the_end() -> None:
    async with running_cluster("anna", "bert") as cluster:
        anna, bert = cluster["anna"], cluster["bert"]
        await anna.fabric.coordinator.registration.register(Joining("a", NEEDS, 0, None, 64))
        keeper = _keeper(cluster, anna)
        await _completes(anna, "a", "t1")
        await cluster.settled()
        bert.fall_behind()
        await keeper.count()
        await _some_turns()
        bert.bus.hears = True
        await _completes(anna, "a", "t2")
        await keeper.count()
        await _some_turns()
        assert bert.fabric.reputations.standings.get("a") is not None
        assert len(bert.fabric.reputations.outcomes) == 1
        bert.come_along()
        await cluster.settled()
        assert bert.fabric.reputations.of("a") == anna.fabric.reputations.of("a")


async def _completes(replica: Replica, swarm_id: str, task_id: str) -> None:
    await replica.fabric.create(new_task(task_id, dispatch=Dispatch.MANUAL))
    claims = replica.fabric.coordinator.claims
    assert (await claims.claim(swarm_id, task_id)).claimed
    await claims.complete(swarm_id, task_id, 1, result_json="{}", cost_micros=0)


async def _some_turns() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.mark.parametrize("seed", range(12))
async def test_x5_d6_every_replica_ranks_by_every_attempt_once(seed: int) -> None:
    async with running_cluster("anna", "bert", "cleo") as cluster:
        registration = cluster["anna"].fabric.coordinator.registration
        for swarm_id in SWARMS:
            await registration.register(Joining(swarm_id, NEEDS, 0, None, 64))
        await cluster.settled()
        trouble = Trouble(cluster, random.Random(seed))
        for _ in range(STEPS):
            await trouble.step()
        await trouble.come_along()
        await cluster.settled()
        trouble.check()
        while await keys(cluster.store, "outcomes/"):
            with suppress(StoreUnavailable):
                await trouble.keepers[trouble.present()[0].name].count()
        await cluster.settled()
        trouble.check()
