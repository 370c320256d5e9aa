"""G4: random histories of claims and their ends, on one server and on two replicas of it."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from infrafabric_server.coordinator.models import Dispatch, FailureKind, Refusal
from infrafabric_server.errors import FabricError
from infrafabric_server.governor.budget.ports import Spent
from infrafabric_server.optimise.models import FABRIC, swarm_account
from infrafabric_server.optimise.roller import Roller, settle_nothing
from infrafabric_server.optimise.rollup_store import Rollups
from infrafabric_server.store.memory import MemoryData, MemoryStore
from infrafabric_server.store.protocol import (
    Compare,
    Delete,
    FoldResult,
    Member,
    Op,
    StoreUnavailable,
    TxnResult,
)
from infrafabric_server.store.view import Write
from tests.harness.fabric import Fabric
from tests.harness.lines import GroupingStore
from tests.harness.replicas import Cluster, running_cluster
from tests.unit.coordinator.machines import Machine, serve
from tests.unit.coordinator.money import limit, priced, reserved, spent

T = TypeVar("T")

SWARMS = ("s0", "s1", "s2")
LIMITS = {swarm_account("s0"): 10, swarm_account("s1"): 25, FABRIC: 40}

swarms = st.sampled_from(SWARMS)
picks = st.integers(0, 40)
claims = st.lists(st.tuples(swarms, picks, st.integers(0, 1)), min_size=1, max_size=8)


class Losing(GroupingStore):
    """Loses some answers to what writes tasks, when it is told to."""

    lose = 0

    def _lost(self) -> None:
        if self.lose:
            self.lose -= 1
            raise StoreUnavailable("the answer was lost")

    async def txn(
        self, compares: Sequence[Compare], success: Sequence[Op], failure: Sequence[Op] = ()
    ) -> TxnResult:
        result = await super().txn(compares, success, failure)
        self._lost()
        return result

    async def fold(
        self, guard: Sequence[Compare], writes: Sequence[Write], members: Sequence[Member]
    ) -> FoldResult:
        result = await super().fold(guard, writes, members)
        self._lost()
        return result


class Money(Machine):
    """Swarms claim and end what they claimed; what it costs may be more than was reserved."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.stop = asyncio.Event()
        # What was honestly reported over a reservation, and what nothing was reserved for.
        self.over: Counter[str] = Counter()
        self.fabrics: list[Fabric] = []
        self.begin()
        for account, micros in LIMITS.items():
            self.run(limit(self.fabrics[0], account, micros))
        self.register()

    def begin(self) -> None:
        """Start what serves; set `fabrics`."""
        raise NotImplementedError

    def register(self) -> None:
        """Have all swarms known, with many slots."""
        for swarm_id in SWARMS:
            self.run(self.fabrics[0].join(swarm_id, slots=50))

    @property
    def store(self) -> MemoryStore:
        """The store of all."""
        raise NotImplementedError

    @rule(costs=st.lists(st.integers(0, 12), min_size=1, max_size=6))
    def create(self, costs: list[int]) -> None:
        specs = []
        for cost in costs:
            self.names.append(f"t{len(self.names)}")
            specs.append(priced(self.names[-1], cost))
        self.run(self.fabrics[0].coordinator.creation.create([(s, Dispatch.MANUAL) for s in specs]))

    @precondition(lambda self: self.names)
    @rule(chosen=claims, lose=st.integers(0, 1))
    def claim(self, chosen: list[tuple[str, int, int]], lose: int) -> None:
        async def all_at_once() -> list[Any]:
            if isinstance(self.store, Losing):
                self.store.lose = lose
            return await asyncio.gather(
                *(
                    self.fabrics[at % len(self.fabrics)].coordinator.claim_task(
                        swarm_id, self.names[pick % len(self.names)]
                    )
                    for swarm_id, pick, at in chosen
                ),
                return_exceptions=True,
            )

        outcomes = self.run(all_at_once())
        if isinstance(self.store, Losing):
            self.store.lose = 0
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                assert isinstance(outcome, StoreUnavailable | FabricError), outcome
            elif outcome.refusal is Refusal.BUDGET:
                assert "limit" in outcome.detail

    def held(self, pick: int) -> tuple[str, str, int, int] | None:
        """Return one of the live claims: who, what, which attempt, and what is left of it."""
        tasks = [task for _, task in self.fabrics[0].coordinator.tasks.items() if task.claim]
        if not tasks:
            return None
        task = tasks[pick % len(tasks)]
        assert task.claim is not None
        return task.claim.swarm_id, task.task_id, task.attempt, task.claim.left_micros

    def paid(self, swarm_id: str, over: int) -> None:
        """Note what was reported over what was reserved."""
        for account in (swarm_account(swarm_id), FABRIC):
            self.over[account] += max(0, over)

    @rule(pick=picks, cost=st.integers(0, 14), at=st.integers(0, 1))
    def complete(self, pick: int, cost: int, at: int) -> None:
        held = self.held(pick)
        if held is None:
            return
        swarm_id, task_id, attempt, left = held
        task = self.fabrics[0].task(task_id)
        drawn = task.claim.drawn_micros if task.claim is not None else 0
        ending = self.fabrics[at % len(self.fabrics)].coordinator.claims.complete(
            swarm_id, task_id, attempt, result_json="{}", cost_micros=cost
        )
        self.run(ending)
        self.paid(swarm_id, cost - drawn - left)

    @rule(pick=picks, cost=st.integers(1, 5))
    def draw(self, pick: int, cost: int) -> None:
        held = self.held(pick)
        if held is None:
            return
        swarm_id, task_id, attempt, left = held
        spending = Spent(swarm_id, "llm", cost, task_id, attempt)
        self.run(self.fabrics[-1].coordinator.costs.track(spending))
        self.paid(swarm_id, cost - left)

    @rule(pick=picks, how=st.sampled_from(["fail", "release", "cancel"]))
    def end(self, pick: int, how: str) -> None:
        held = self.held(pick)
        if held is None:
            return
        swarm_id, task_id, attempt, _ = held
        work = self.fabrics[0].coordinator
        if how == "fail":
            kind = FailureKind.RETRYABLE
            self.run(
                work.claims.fail(swarm_id, task_id, attempt, reason="r", kind=kind, retry_time=None)
            )
        elif how == "release":
            self.run(work.claims.release(swarm_id, task_id, attempt, "r"))
        else:
            self.run(work.endings.cancel(task_id, "r"))

    @rule(swarm_id=swarms)
    def deregister(self, swarm_id: str) -> None:
        self.run(self.fabrics[0].coordinator.registration.deregister(swarm_id))
        self.register()

    @rule()
    def close_breakers(self) -> None:
        """They are not what this is about."""
        deletes = [Delete(f"breakers/{swarm_id}") for swarm_id in SWARMS]
        self.run(self.store.txn([], deletes))

    @rule()
    def roll(self) -> None:
        first = self.fabrics[0]
        shares = first.parts.shares
        roller = Roller(
            first.mirror,
            first.ledger,
            Rollups(first.store, first.ledger.costs),
            Leading(),
            first.clock,
            settle=settle_nothing if shares is None else shares.settle,
        )
        self.run(roller.roll())

    @invariant()
    def no_account_is_overdrawn(self) -> None:
        for account, most in LIMITS.items():
            swarm_id = None if account == FABRIC else account.removeprefix(swarm_account(""))
            taken = self.loop.run_until_complete(self.taken(swarm_id))
            assert taken <= most + self.over[account], account

    async def taken(self, swarm_id: str | None) -> int:
        """Return what is spent and reserved by what is stored."""
        return await reserved(self.store, swarm_id) + await spent(self.store, swarm_id)

    @invariant()
    def what_is_known_to_be_reserved_is_that_of_the_live_claims(self) -> None:
        for fabric in self.fabrics:
            for swarm_id in SWARMS:
                known = fabric.parts.accounts.reserved(swarm_account(swarm_id))
                stored = self.loop.run_until_complete(reserved(self.store, swarm_id))
                assert known == stored
            assert not fabric.parts.accounts.unsettled(FABRIC)


class Leading:
    """The leadership of the only one who adds costs up."""

    leading = True
    term = 1

    def fence(self) -> list[Compare]:
        return []

    def follow(self, _listener: object) -> None:
        pass


class OneServer(Money):
    """On the embedded store, with restarts."""

    def begin(self) -> None:
        self.data = getattr(self, "data", None) or MemoryData()
        ready: asyncio.Future[Fabric] = self.loop.create_future()
        self.stop = asyncio.Event()

        self.serving = self.loop.create_task(serve(self.data, ready, self.stop))
        self.fabrics = [self.loop.run_until_complete(ready)]

    async def quiet(self) -> None:
        await self.fabrics[0].settled()

    @property
    def store(self) -> MemoryStore:
        found = self.fabrics[0].store
        assert isinstance(found, MemoryStore)
        return found

    @rule()
    def restart(self) -> None:
        self.stop.set()
        self.loop.run_until_complete(self.serving)
        self.begin()
        self.register()

    def teardown(self) -> None:
        self.stop.set()
        self.loop.run_until_complete(self.serving)
        self.loop.close()


class TwoReplicas(Money):
    """On two replicas, one of which may see late what the other one does."""

    def begin(self) -> None:
        ready: asyncio.Future[Cluster] = self.loop.create_future()

        async def serve() -> None:
            store = await Losing.open()
            async with running_cluster("anna", "bert", store=store) as cluster:
                await cluster.settled()
                ready.set_result(cluster)
                await self.stop.wait()

        self.serving = self.loop.create_task(serve())
        self.cluster = self.loop.run_until_complete(ready)
        self.fabrics = [self.cluster[name].fabric for name in ("anna", "bert")]

    async def quiet(self) -> None:
        self.cluster["bert"].come_along()
        await self.cluster.settled()

    @property
    def store(self) -> MemoryStore:
        return self.cluster.store

    @precondition(lambda self: self.names)
    @rule(chosen=claims)
    def claim_behind(self, chosen: list[tuple[str, int, int]]) -> None:
        async def late() -> None:
            self.cluster["bert"].fall_behind()
            work = [
                self.fabrics[at].coordinator.claim_task(
                    swarm_id, self.names[pick % len(self.names)]
                )
                for swarm_id, pick, at in chosen
            ]
            await self.cluster["bert"].behind(asyncio.gather(*work))

        self.run(late())

    def teardown(self) -> None:
        self.stop.set()
        self.loop.run_until_complete(self.serving)
        self.loop.close()


_SETTINGS = settings(
    max_examples=30,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
OneServer.TestCase.settings = _SETTINGS
TwoReplicas.TestCase.settings = _SETTINGS
TestOneServer = OneServer.TestCase
TestTwoReplicas = TwoReplicas.TestCase
