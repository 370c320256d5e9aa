"""What is remembered of swarms and tasks that are kept apart is bounded; nothing hangs by it."""

from functools import partial

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from infrafabric_server.coordinator.apart import Apart
from infrafabric_server.coordinator.build import Limits
from infrafabric_server.coordinator.models import Dispatch
from infrafabric_server.coordinator.pairs import Pairs
from infrafabric_server.fleet.models import SwarmProfile
from infrafabric_server.governor.gate import BudgetFacts, TaskFacts, Violation
from infrafabric_server.store.memory import MemoryStore
from tests.contract.clock import SteppedClock
from tests.harness.fabric import Fabric, new_task, running_fabric

SWARMS = ["s1", "s2", "s3"]
TASKS = ["t1", "t2", "t3", "t4"]
MOST = 5


class PairsMachine(RuleBasedStateMachine):
    """Pairs come and are forgotten; a list of the youngest is the model."""

    def __init__(self) -> None:
        super().__init__()
        self.pairs = Pairs(MOST)
        self.known: list[tuple[str, str]] = []

    @rule(swarm_id=st.sampled_from(SWARMS), task_id=st.sampled_from(TASKS))
    def add(self, swarm_id: str, task_id: str) -> None:
        self.pairs.add(swarm_id, task_id)
        others = [pair for pair in self.known if pair != (swarm_id, task_id)]
        self.known = [*others, (swarm_id, task_id)][-MOST:]

    @rule(swarm_id=st.sampled_from(SWARMS))
    def forget_swarm(self, swarm_id: str) -> None:
        self.pairs.forget_swarm(swarm_id)
        self.known = [pair for pair in self.known if pair[0] != swarm_id]

    @rule(task_id=st.sampled_from(TASKS))
    def forget_task(self, task_id: str) -> None:
        self.pairs.forget_task(task_id)
        self.known = [pair for pair in self.known if pair[1] != task_id]

    @invariant()
    def alike(self) -> None:
        assert len(self.pairs) == len(self.known)
        for swarm_id in SWARMS:
            assert set(self.pairs.tasks(swarm_id)) == {t for s, t in self.known if s == swarm_id}
        for task_id in TASKS:
            assert set(self.pairs.swarms(task_id)) == {s for s, t in self.known if t == task_id}


TestPairs = PairsMachine.TestCase
TestPairs.settings = settings(max_examples=80, stateful_step_count=40)


class Picky:
    """Allows one swarm one task, and counts what it is asked."""

    def __init__(self, swarm_id: str, task_id: str) -> None:
        self.asked = 0
        self.allowed = (swarm_id, task_id)

    def violation(
        self, task: TaskFacts, swarm: SwarmProfile, _own: BudgetFacts, _fabric: BudgetFacts
    ) -> Violation | None:
        """See governor.gate.Judge."""
        self.asked += 1
        allowed = (swarm.swarm_id, task.task_id) == self.allowed
        return None if allowed else Violation("never", "it is forbidden", "abc")


async def claims(fabric: Fabric) -> dict[str, str]:
    """Return who has which task, once nothing more follows."""
    await fabric.settled()
    return {t.task_id: t.claim.swarm_id for _, t in fabric.coordinator.tasks.items() if t.claim}


@pytest.mark.parametrize("swarms_first", [True, False])
async def test_g3_with_hardly_any_memory_of_refusals_all_searches_end_and_find(
    swarms_first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = "infrafabric_server.coordinator"
    monkeypatch.setattr(f"{module}.scheduler.Apart", partial(Apart, 3))
    store = await MemoryStore.open()
    judge = Picky("s39", "t59")
    async with running_fabric(store, judge=judge) as fabric:
        for make_tasks in (not swarms_first, swarms_first):
            if make_tasks:
                await fabric.create(*(new_task(f"t{n}", position=n) for n in range(60)))
            else:
                for n in range(40):
                    await fabric.join(f"s{n}")
        assert await claims(fabric) == {"t59": "s39"}
        # Nobody is asked without end, nor for nothing once all is done.
        asked = judge.asked
        assert asked < 10 * 40 * 60
        await fabric.settled()
        assert judge.asked == asked
    await store.close()


async def test_g3_what_changes_during_a_search_is_tried_again_in_it() -> None:
    apart = Apart()
    apart.denied("s", "old")
    assert apart.keep_swarm("s", apart.tasks("s") | {"t"})
    assert apart.choosing((), None) == ["s"]
    assert apart.choosing("abc", 3) == ["s", "a", "b"]
    assert apart.choosing("abc", 3) == ["a", "s", "b"]
    apart.task_changed("t")
    assert apart.tasks("s") == {"old"}
    assert not apart.searching
    assert apart.keep_swarm("s", {"old", "t"})
    apart.judged_anew("s")
    assert (apart.tasks("s"), apart.searching) == (set(), False)
    for forget in (apart.paid, apart.forgive, apart.judged_anew, apart.swarm_left):
        apart.keep_task("t", {"s", "r"})
        forget("s")
        assert apart.swarms("t") == {"r"}
    apart.keep_task("t", {"s"})
    apart.policy_changed()
    assert apart.swarms("t") == set()
    kept = [apart.keep_swarm(f"s{n}", set()) for n in range(100)]
    assert 0 < sum(kept) < 20, "each of them may be large"
    apart.swarm_left("s0")
    assert apart.keep_swarm("s100", set())


async def test_c11_a_session_that_declines_without_end_is_shown_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("infrafabric_server.coordinator.offers.MAX_DECLINED", 4)
    store, clock = await MemoryStore.open(), SteppedClock()
    async with running_fabric(store, clock=clock, limits=Limits(lease=10**6)) as fabric:
        link = await fabric.join("s")
        for n in range(6):
            await fabric.create(new_task(f"t{n}", dispatch=Dispatch.BROADCAST))
            if n < 4:
                await fabric.coordinator.placing.decline(link, f"t{n}", 0)
        await fabric.settled()
        assert (len(link.declined), link.offered) == (4, {})
        await fabric.coordinator.endings.cancel("t0", "enough")
        await fabric.settled()
        for shown in (set[str](), {"t4", "t5"}):
            assert set(link.offered) == shown
            await clock.advance(60)
            fabric.parts.timers.fire()
        assert len(link.declined) == 3
    await store.close()
