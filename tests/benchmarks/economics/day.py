"""One day: the whole coordinator and governor over a store in memory, in virtual time."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

from infrafabric_server.chassis.keeper import Keeper as StandingKeeper
from infrafabric_server.chassis.levels import Levels
from infrafabric_server.coordinator.build import Limits
from infrafabric_server.coordinator.models import Task
from infrafabric_server.fleet.leadership import SoleLeader
from infrafabric_server.governor.breaker.keeper import Keeper
from infrafabric_server.governor.policy.book import PolicyBook
from infrafabric_server.optimise.models import Budget, swarm_account
from infrafabric_server.optimise.reports import CostReports, Dimension, Question, Report
from infrafabric_server.optimise.roller import Roller
from infrafabric_server.optimise.rollup_store import Rollups
from infrafabric_server.store.memory import MemoryStore
from infrafabric_server.store.protocol import Store
from infrafabric_server.witness.models import Draft
from infrafabric_server.witness.outbox import PREFIX
from tests.benchmarks.economics.attempts import Course, course, luck
from tests.benchmarks.economics.books import Books
from tests.benchmarks.economics.giver import Giver
from tests.benchmarks.economics.model import Scenario
from tests.benchmarks.economics.orders import Orders
from tests.benchmarks.economics.people import Opening, Operator, day_micros
from tests.benchmarks.economics.regimes import Regime
from tests.benchmarks.economics.virtual_time import VirtualClock, run_virtually
from tests.benchmarks.economics.worker import Worker
from tests.benchmarks.economics.world import HOUR, Swarm, World, draw
from tests.harness.fabric import Fabric, running_fabric

# No session is lost here: leases are longer than any day.
_LEASE = 1_000 * HOUR
# Costs are added up, and history is forgotten, less often than each second of a day.
_ROLL_SECONDS = 600.0
_HISTORY = 6 * HOUR
_PAGE = 1_000


@dataclass(frozen=True, slots=True)
class Day:
    """What a day came to: the truth, and what the fabric's own records say of it.

    `ledger` is the cost report by swarm, `decisions` how often each operation is in the witness
    outbox, `reputations` what each swarm is worth at the end.
    """

    scenario: Scenario
    seed: int
    regime: str
    world: World
    books: Books
    ledger: Report
    decisions: Counter[str]
    openings: tuple[Opening, ...]
    reputations: dict[str, float]


def simulate(scenario: Scenario, seed: int, regime: Regime) -> Day:
    """Return the day of a seed under one way of giving work."""
    return run_virtually(_simulate(scenario, seed, regime))


async def _simulate(scenario: Scenario, seed: int, regime: Regime) -> Day:
    world = draw(scenario, seed)
    books = Books({job.job_id: job for job in world.jobs})
    store = await MemoryStore.open(clock=VirtualClock(), history=_HISTORY)
    try:
        async with _governed(store, regime) as (fabric, reports):
            operator = await _work(fabric, scenario, seed, regime, world, books)
            await fabric.settled()
            return Day(
                scenario=scenario,
                seed=seed,
                regime=regime.name,
                world=world,
                books=books,
                ledger=await reports.report(Question(frozenset({Dimension.SWARM}))),
                decisions=await _decisions(store),
                openings=tuple(operator.openings),
                reputations={each: fabric.reputations.of(each) for each in fabric.fleet.swarms},
            )
    finally:
        await store.close()


@asynccontextmanager
async def _governed(store: Store, regime: Regime) -> AsyncIterator[tuple[Fabric, CostReports]]:
    """Run a coordinator, and what opens breakers, adds up costs and judges swarms beside it."""
    clock, leader, book = VirtualClock(), SoleLeader(), PolicyBook(regime.policy)
    limits = Limits(lease=_LEASE)
    async with (
        running_fabric(store, clock=clock, limits=limits, policies=book, judge=book) as fabric,
        asyncio.TaskGroup() as group,
    ):
        mirror, ledger, breakers = fabric.mirror, fabric.ledger, fabric.breakers
        rollups = Rollups(store, ledger.costs)
        keeper = Keeper(mirror, fabric.fleet, ledger, breakers, leader, clock, book)
        pause = partial(asyncio.sleep, _ROLL_SECONDS)
        roller = Roller(mirror, ledger, rollups, leader, clock, sleep=lambda _: pause())
        levels = Levels(book)
        standings = StandingKeeper(
            mirror, fabric.fleet, fabric.reputations, breakers, leader, clock, levels
        )
        works = (keeper, roller, fabric.reputations, standings)
        running = [group.create_task(each.run()) for each in works]
        yield fabric, CostReports(rollups)
        for task in running:
            task.cancel()


async def _work(
    fabric: Fabric, scenario: Scenario, seed: int, regime: Regime, world: World, books: Books
) -> Operator:
    """Let a day pass; return who watched the breakers."""
    swarms = {swarm.swarm_id: swarm for swarm in world.swarms}
    async with asyncio.TaskGroup() as group:
        operator = Operator(fabric, scenario, seed, swarms, group)
        orders = Orders(fabric, scenario, regime, books, group)

        def begin(swarm: Swarm, task: Task) -> tuple[str, Course]:
            job = orders.job_of(task.task_id)
            chance = luck(scenario, seed, job.job_id, books.number(job.job_id))
            return job.job_id, course(scenario, swarm, job, chance, task.spec.max_cost_micros)

        links = []
        for swarm in world.swarms:
            link = await fabric.join(swarm.swarm_id, set(swarm.claimed), cost=swarm.hourly_micros)
            links.append(link)
            worker = Worker(fabric, swarm, link, books, group, begin, orders.ended)
            group.create_task(worker.run())
            if regime.limits:
                await _limit(fabric, swarm, day_micros(scenario, swarm))
        giving = []
        if regime.choose is not None:
            giver = Giver(fabric, swarms, orders.job_of, regime.choose())
            giving.append(group.create_task(giver.run()))
        await orders.arrive()
        await orders.close()
        operator.go_home()
        for task in giving:
            task.cancel()
        for link in links:
            link.finish()
    return operator


async def _limit(fabric: Fabric, swarm: Swarm, micros: int) -> None:
    budget = Budget(limit_micros=micros, update_time=fabric.clock.now())
    account = swarm_account(swarm.swarm_id)
    await fabric.mirror.commit([], [fabric.ledger.budgets.put(account, budget)])


async def _decisions(store: Store) -> Counter[str]:
    """Return what is in the witness outbox, which nobody seals here, by operation."""
    found: Counter[str] = Counter()
    after = ""
    while page := (await store.range(PREFIX, limit=_PAGE, after=after)).kvs:
        found.update(Draft.model_validate_json(kv.value).operation for kv in page)
        after = page[-1].key
    return found
