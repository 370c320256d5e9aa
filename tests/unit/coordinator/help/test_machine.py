"""G9: after any history no request outlives its claim, and all money is accounted for."""

import asyncio
from collections import Counter
from collections.abc import Coroutine
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule

from infrafabric_server.coordinator.help.rules import over
from infrafabric_server.coordinator.models import BlockerReport, Dispatch
from infrafabric_server.errors import FabricError
from infrafabric_server.fleet.models import Status
from infrafabric_server.governor.breaker.models import BreakerCause
from infrafabric_server.governor.budget.ports import Spent
from infrafabric_server.governor.help.models import Acceptance, HelpRequest, Urgency
from infrafabric_server.governor.help.rules import SETTLING
from infrafabric_server.optimise.models import FABRIC, swarm_account
from infrafabric_server.store.protocol import Delete
from tests.harness.fabric import Fabric
from tests.harness.replicas import Cluster, running_cluster
from tests.unit.coordinator.help.kit import NEEDS, accept, cost, wanted
from tests.unit.coordinator.machines import Machine
from tests.unit.coordinator.money import priced

T = TypeVar("T")

ASKERS = ("a0", "a1")
HELPERS = ("h0", "h1", "h2", "h3", "h4")
NAMES = ("anna", "bert")

askers = st.sampled_from(ASKERS)
helpers = st.sampled_from(HELPERS)
replicas = st.integers(0, 1)
picks = st.integers(0, 9)


class Histories(Machine):
    """Two swarms ask, five may help, on two replicas of which any, none or both lead."""

    def __init__(self) -> None:
        super().__init__()
        self.stop = asyncio.Event()
        self.tasks = 0
        # What was spent by each, as they reported it.
        self.reported: Counter[str] = Counter()
        ready: asyncio.Future[Cluster] = self.loop.create_future()

        async def serve() -> None:
            async with running_cluster(*NAMES) as cluster:
                ready.set_result(cluster)
                await self.stop.wait()

        self.serving = self.loop.create_task(serve())
        self.cluster = self.loop.run_until_complete(ready)
        for n, asker in enumerate(ASKERS):
            self.hold(asker, n)
            self.ask(asker, n, Urgency.LOW, (None, 30)[n], NEEDS)
        for n, helper in enumerate(HELPERS[1:]):
            self.join(helper, n % 2, n > 0)

    def teardown(self) -> None:
        """End the replicas."""
        self.stop.set()
        self.loop.run_until_complete(self.serving)
        self.loop.close()

    async def quiet(self) -> None:
        """See Machine."""
        await self.cluster.settled()

    def at(self, replica: int) -> Fabric:
        """Return a replica."""
        return self.cluster[NAMES[replica]].fabric

    def requests(self) -> list[HelpRequest]:
        """Return all requests, the oldest first."""
        return [each.value for each in self.at(0).coordinator.help.page("", 1000)]

    def one(self, pick: int) -> HelpRequest:
        """Return one of the latest requests."""
        return self.requests()[-(pick % min(3, len(self.requests()))) - 1]

    def said(self, asker: str) -> tuple[str, int]:
        """Return the last task of a swarm that asks, and its attempt."""
        named = f"{asker}-{self.tasks}"
        held = self.at(0).coordinator.held_by(asker)
        task_id = held[0] if held else named
        task = self.at(0).coordinator.tasks.get(task_id)
        return task_id, 1 if task is None else max(1, task.attempt)

    @rule(asker=askers, replica=replicas)
    def hold(self, asker: str, replica: int) -> None:
        """Have a swarm hold another task; a new process of it takes over what it held."""
        self.tasks += 1
        task_id, fabric = f"{asker}-{self.tasks}", self.at(replica)

        async def claim() -> None:
            link = await fabric.join(asker, {"any"}, slots=9)
            await fabric.create((priced(task_id, 100), Dispatch.MANUAL))
            with link.claims(task_id):
                await fabric.coordinator.claims.claim(asker, task_id, link.epoch)

        self.run(claim())

    @rule(
        asker=askers,
        replica=replicas,
        urgency=st.sampled_from(Urgency),
        budget=st.sampled_from([None, 30, 60]),
        needs=st.sampled_from([NEEDS, frozenset({"gpu"}), frozenset({"tpu"})]),
    )
    def ask(
        self,
        asker: str,
        replica: int,
        urgency: Urgency,
        budget: int | None,
        needs: frozenset[str],
    ) -> None:
        """Ask for help with what is held, or ask anew."""
        task_id, attempt = self.said(asker)
        said = {"urgency": urgency, "budget_micros": budget, "needs": needs}
        call = wanted(asker, task_id, attempt=attempt, **said)
        self.run(_tried(self.at(replica).coordinator.help_requests.request(call)))

    @rule(asker=askers, replica=replicas)
    def block(self, asker: str, replica: int) -> None:
        """Report a blocker without asking for help."""
        task_id, attempt = self.said(asker)
        report = BlockerReport(task_id=task_id, attempt=attempt, description="stuck")
        self.run(_tried(self.at(replica).coordinator.detect_blocker(asker, report)))

    @rule(helper=helpers, replica=replicas, skilled=st.booleans())
    def join(self, helper: str, replica: int, skilled: bool) -> None:  # of hypothesis
        """Open a session of a swarm that may help."""
        able = {*NEEDS} if skilled else {"gpu"}
        self.run(self.at(replica).join(helper, able))

    @rule(helper=helpers)
    def die(self, helper: str) -> None:
        """End the session of a swarm that may help."""
        session = self.at(0).fleet.sessions.entry(helper)
        if session is not None:
            self.run(self.cluster.store.txn([], [Delete(session.key)]))

    @rule(helper=helpers)
    def deregister(self, helper: str) -> None:
        """Forget a swarm that may help."""
        self.run(_tried(self.at(0).coordinator.registration.deregister(helper)))

    @rule(chosen=st.lists(st.tuples(helpers, replicas), min_size=1, max_size=6), pick=picks)
    def accept(self, chosen: list[tuple[str, int]], pick: int) -> None:
        """Have swarms accept at once."""
        request = self.one(pick)

        async def all_at_once() -> list[Acceptance | None]:
            work = (_tried(accept(self.at(at), request.help_id, each)) for each, at in chosen)
            return await asyncio.gather(*work)

        answers = [each for each in self.run(all_at_once()) if each is not None and each.accepted]
        ever = {*request.helper_ids, *(each for a in answers for each in a.help.helper_ids)}
        assert len(ever) <= max(request.max_helpers, len(request.helpers))

    @rule(
        chosen=st.lists(st.tuples(picks, replicas, st.integers(1, 40)), min_size=1, max_size=5),
        pick=picks,
    )
    def spend(self, chosen: list[tuple[int, int, int]], pick: int) -> None:
        """Have helpers, and one that may be none, report costs at once."""
        request = self.one(pick)
        able = (*request.helper_ids, HELPERS[pick % len(HELPERS)])

        async def charge(swarm_id: str, at: int, micros: int) -> None:
            await self.at(at).coordinator.costs.track(cost(request.help_id, swarm_id, micros))
            self.reported[FABRIC] += micros
            self.reported[request.help_id] += micros

        async def all_at_once() -> None:
            work = (_tried(charge(able[n % len(able)], at, micros)) for n, at, micros in chosen)
            await asyncio.gather(*work)

        self.run(all_at_once())

    @rule(asker=askers, replica=replicas, micros=st.integers(1, 30))
    def work(self, asker: str, replica: int, micros: int) -> None:
        """Have a swarm that asks spend money itself."""
        task_id, attempt = self.said(asker)
        spent = Spent(asker, "llm", micros, task_id, attempt)

        async def charge() -> None:
            await self.at(replica).coordinator.costs.track(spent)
            self.reported[FABRIC] += micros

        self.run(_tried(charge()))

    @rule(asker=askers, replica=replicas)
    def resolve(self, asker: str, replica: int) -> None:
        """Resolve a blocker."""
        task_id, _ = self.said(asker)
        self.run(_tried(self.at(replica).coordinator.resolve_blocker(asker, task_id, "found")))

    @rule(asker=askers, replica=replicas)
    def release(self, asker: str, replica: int) -> None:
        """Give a task back."""
        task_id, attempt = self.said(asker)
        self.run(_tried(self.at(replica).coordinator.claims.release(asker, task_id, attempt, "")))

    @rule(seconds=st.sampled_from([1, 29, 31]))
    def wait(self, seconds: int) -> None:
        """Let time pass."""
        self.run(self.cluster.pass_time(seconds))

    @rule(helper=helpers)
    def trip(self, helper: str) -> None:
        """Open a breaker."""
        self.run(_tried(self.at(0).breakers.trip(helper, BreakerCause.MANUAL, "odd")))

    @rule()
    def close_breakers(self) -> None:
        """Close all breakers: they are not what this is about."""
        deletes = [Delete(f"breakers/{each}") for each in (*ASKERS, *HELPERS)]
        self.run(self.cluster.store.txn([], deletes))

    @rule(replica=replicas, leading=st.booleans())
    def lead(self, replica: int, leading: bool) -> None:  # of hypothesis
        """Have a replica believe that it leads, or not."""

        async def change() -> None:
            self.cluster[NAMES[replica]].lead(leading=leading)

        self.run(change())

    @property
    def led(self) -> bool:
        """Whether anybody leads."""
        return any(each.leader and each.leader.leading for each in self.cluster.replicas.values())

    @invariant()
    def no_request_outlives_its_claim(self) -> None:
        """Whoever leads has ended what is over, and looked for help for what is not."""
        if not self.led:
            return
        records = self.at(0).coordinator.records
        for request in self.requests():
            alert = records.blockers.get(f"{request.swarm_id}/{request.task_id}")
            task = records.tasks.get(request.task_id)
            assert request.ended is bool(over(request, alert, task))
            if not request.ended:
                somebody = request.helpers or request.asked
                new = self.at(0).coordinator.records.clock.now() < request.create_time + SETTLING
                assert somebody or request.unqualified or new

    @invariant()
    def nobody_is_asked_twice_or_does_two_things(self) -> None:
        """A swarm is asked by one request at a time, and busy while it helps."""
        lasting = [each for each in self.requests() if not each.ended]
        asked = Counter(swarm_id for each in lasting for swarm_id in each.asked_ids)
        assert not asked or max(asked.values()) == 1 or not self.led
        helping = {swarm_id for each in lasting for swarm_id in each.helper_ids}
        for fabric in (self.at(0), self.at(1)):
            involved = fabric.parts.help.involved
            for helper in HELPERS:
                assert bool(involved.helping(helper)) is (helper in helping)
        if self.led:
            for helper in HELPERS:
                status = self.at(0).fleet.statuses.get(helper)
                busy = status is not None and status.status is Status.BUSY
                assert busy is (helper in helping)

    @invariant()
    def all_money_is_accounted_for(self) -> None:
        """What was reported is charged, to the asker as far as the budget went."""
        ledger = self.at(0).ledger
        assert ledger.total(FABRIC) == self.reported[FABRIC]
        for request in self.requests():
            assert request.spent_micros == self.reported[request.help_id]
            assert request.drawn_micros <= request.spent_micros
        everybody = (*ASKERS, *HELPERS)
        assert sum(ledger.total(swarm_account(each)) for each in everybody) == ledger.total(FABRIC)
        own = sum(ledger.total(swarm_account(each)) for each in HELPERS)
        beyond = sum(each.spent_micros - each.drawn_micros for each in self.requests())
        assert own == beyond


async def _tried(work: Coroutine[Any, Any, T]) -> T | None:
    """Return what comes of `work`; None when it is refused."""
    try:
        return await work
    except FabricError:
        return None


TestHistories = Histories.TestCase
TestHistories.settings = settings(
    max_examples=20,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
