"""Modules in the store: whole or not there, whoever uploads and removes them at once."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from infrafabric_server.chassis.contract import ServiceContract
from infrafabric_server.chassis.contracts import Contracts
from infrafabric_server.chassis.credentials.credentials import Credentials
from infrafabric_server.chassis.levels import Levels
from infrafabric_server.chassis.models import ModuleKind, ModuleState
from infrafabric_server.chassis.modules import CHUNK_BYTES, CHUNKS, Modules
from infrafabric_server.chassis.outcomes import OutcomeLog
from infrafabric_server.chassis.recorder import Recorder
from infrafabric_server.chassis.scratch.scratch import Scratch
from infrafabric_server.chassis.standing import Outcome
from infrafabric_server.chassis.upkeep import KEEP_UNUSED, Upkeep
from infrafabric_server.coordinator.models import Task
from infrafabric_server.errors import FabricError, Reason
from infrafabric_server.fleet.fleet import Fleet
from infrafabric_server.fleet.models import SwarmProfile
from infrafabric_server.governor.breaker.breakers import Breakers
from infrafabric_server.governor.policy.book import PolicyBook
from infrafabric_server.governor.policy.models import Containing, Policy
from infrafabric_server.optimise.ledger import Ledger
from infrafabric_server.store.memory import MemoryStore
from infrafabric_server.store.mirror import Mirror
from infrafabric_server.store.protocol import Put, StoreRefused
from infrafabric_server.witness.flood import Flood
from infrafabric_server.witness.outbox import Outbox
from tests.contract.clock import SteppedClock
from tests.unit.store.kit import running

LARGE = random.Random(7).randbytes(3 * CHUNK_BYTES + 5)


@pytest.fixture
async def store() -> AsyncIterator[MemoryStore]:
    opened = await MemoryStore.open()
    yield opened
    await opened.close()


@asynccontextmanager
async def replicas(
    store: MemoryStore, count: int, clock: SteppedClock, policy: Policy | None = None
) -> AsyncIterator[list[Modules]]:
    """Run the modules of some servers over one store."""
    async with AsyncExitStack() as stack:
        found = []
        for _ in range(count):
            mirror = Mirror(store, shared=count > 1)
            found.append(Modules(store, mirror, clock, PolicyBook(policy)))
            await stack.enter_async_context(running(mirror))
        yield found


@pytest.mark.parametrize("seed", range(20))
async def test_x1_replicas_that_upload_at_once_keep_within_the_room_of_the_policy(
    store: MemoryStore, seed: int
) -> None:
    chance = random.Random(seed)
    policy = Policy(chassis=Containing(max_modules_mb=2))
    async with replicas(store, 3, SteppedClock(), policy) as servers:

        async def upload(modules: Modules, module: bytes) -> None:
            await _turns(chance)
            await modules.put(module, ModuleKind.CORE)

        # Each takes more than a third of what there is.
        uploads = [upload(servers[n % 3], bytes([n]) * 800_000) for n in range(6)]
        refused = [each for each in await asyncio.gather(*uploads, return_exceptions=True) if each]
        reasons = [each.reason for each in refused if isinstance(each, FabricError)]
        assert reasons == [Reason.LIMIT_REACHED] * 4
        assert sum(each.size for _, each in servers[0].view.items()) == 1_600_000


async def chunks(store: MemoryStore) -> list[str]:
    return [kv.key for kv in (await store.range(CHUNKS)).kvs]


async def test_x1_a_module_is_kept_in_pieces_and_read_by_every_replica(store: MemoryStore) -> None:
    async with replicas(store, 2, SteppedClock()) as (one, other):
        stored = await one.put(LARGE, ModuleKind.CORE)
        assert (stored.size, stored.state) == (len(LARGE), ModuleState.STORED)
        assert len(await chunks(store)) == 4
        before = await store.revision()
        assert (await other.put(LARGE, ModuleKind.CORE)).sha256 == stored.sha256
        assert await store.revision() == before + 1, "the bytes are not written again"
        assert await other.read(stored.sha256) == LARGE


@pytest.mark.parametrize("seed", range(30))
async def test_x1_a_module_is_whole_or_not_there_whoever_races(
    store: MemoryStore, seed: int
) -> None:
    chance = random.Random(seed)
    async with replicas(store, 3, SteppedClock()) as servers:

        async def upload(modules: Modules) -> None:
            await _turns(chance)
            await modules.put(LARGE, ModuleKind.CORE)

        async def remove(modules: Modules) -> None:
            for _ in range(3):
                await _turns(chance)
                for entry in list(modules.view.entries()):
                    await modules.remove(entry)

        first = await servers[0].put(LARGE, ModuleKind.CORE)
        async with asyncio.TaskGroup() as group:
            for _ in range(2):
                group.create_task(upload(chance.choice(servers)))
                group.create_task(remove(chance.choice(servers)))
        await servers[0].put(LARGE, ModuleKind.CORE)
        for modules in servers:
            assert await modules.read(first.sha256) == LARGE
        assert len(await chunks(store)) == 4


@pytest.mark.parametrize("chunk", ["AAAA", "A", ""])
async def test_a_module_that_was_damaged_is_not_run_until_it_is_uploaded_again(
    store: MemoryStore, chunk: str
) -> None:
    async with replicas(store, 1, SteppedClock()) as (modules,):
        sha256 = (await modules.put(LARGE, ModuleKind.CORE)).sha256
        await store.txn([], [Put(f"{CHUNKS}{sha256}/001", chunk)])
        with pytest.raises(StoreRefused, match="damaged; upload it again"):
            await modules.read(sha256)
        await modules.put(LARGE, ModuleKind.CORE)
        assert await modules.read(sha256) == LARGE


async def test_the_policy_bounds_a_module_and_all_of_them(store: MemoryStore) -> None:
    small = Policy(chassis=Containing(max_module_mb=1, max_modules_mb=2))
    async with replicas(store, 1, SteppedClock(), small) as (modules,):
        with pytest.raises(
            FabricError, match=r"a module has at most 1 MiB, chassis\.max_module_mb"
        ):
            modules.check_size(1024 * 1024 + 1)
        modules.check_size(1024 * 1024)
        for n in range(2):
            await modules.put(bytes([n]) * 1024 * 1024, ModuleKind.CORE)
        with pytest.raises(FabricError, match=r"together have at most 2 MiB") as refused:
            await modules.put(b"more", ModuleKind.CORE)
        assert refused.value.reason is Reason.LIMIT_REACHED
        assert len(modules.view) == 2


async def test_x1_what_no_swarm_is_loaded_with_goes_after_an_hour(store: MemoryStore) -> None:
    clock, policies, mirror = SteppedClock(), PolicyBook(), Mirror(store)
    fleet, outbox = Fleet(mirror), Outbox(clock, "test", ())
    ledger = Ledger(mirror, clock, replica="test")
    breakers = Breakers.over(mirror, fleet, ledger, outbox, clock, policies)
    outcomes = OutcomeLog(mirror.view("outcomes/", Outcome), clock, Levels(policies))
    modules = Modules(store, mirror, clock, policies)
    contracts = Contracts(mirror, fleet, modules, outbox, clock)
    recorder = Recorder(mirror, outbox, breakers.counting, outcomes)
    tasks = mirror.view("tasks/", Task)
    flood = Flood(outbox, store, clock, component="chassis")
    credentials = Credentials(mirror, tasks, outbox, flood, clock, policies)
    scratch = Scratch(store, mirror, tasks)
    upkeep = Upkeep(modules, contracts, recorder, credentials, scratch, fleet, clock)
    async with running(mirror):
        now = clock.now()
        swarm = SwarmProfile(swarm_id="s", create_time=now, update_time=now)
        await mirror.commit([], [fleet.swarms.put("s", swarm)])
        kept = await modules.put(LARGE, ModuleKind.CORE)
        left = await modules.put(b"small", ModuleKind.CORE)
        loaded = await contracts.load("s", kept.sha256, ServiceContract())
        assert await contracts.load("s", kept.sha256, ServiceContract()) == loaded

        await clock.advance(KEEP_UNUSED.total_seconds() - 1)
        await upkeep.look()
        assert set(modules.view) == {kept.sha256, left.sha256}
        await clock.advance(2)
        await upkeep.look()
        assert set(modules.view) == {kept.sha256}
        with pytest.raises(FabricError, match="no module has the SHA-256"):
            await modules.read(left.sha256)

        await mirror.commit([], [fleet.swarms.delete("s")])
        await upkeep.look()
        assert not len(contracts.view)
        assert not len(modules.view)
        assert not await chunks(store)


async def _turns(chance: random.Random) -> None:
    for _ in range(chance.randrange(12)):
        await asyncio.sleep(0)
