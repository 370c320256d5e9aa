"""Swarms come, go, claim, finish and lie all at once; when all is quiet, nothing is forgotten."""

import asyncio
import random
from collections.abc import Container, Sequence
from contextlib import suppress

import pytest

from infrafabric_server.coordinator.build import Limits
from infrafabric_server.coordinator.frames import Closing, ClosingAction, Opened
from infrafabric_server.coordinator.link import SessionLink
from infrafabric_server.coordinator.models import (
    BlockerReport,
    Dispatch,
    FailureKind,
    Task,
    TaskState,
)
from infrafabric_server.errors import FabricError, Reason
from infrafabric_server.fleet.models import SessionRole
from infrafabric_server.governor.matching import DEFAULT
from infrafabric_server.store.memory import MemoryData, MemoryStore
from infrafabric_server.store.protocol import Compare, Op, StoreUnavailable, TxnResult
from tests.harness.fabric import Fabric, new_task, running_fabric
from tests.unit.coordinator.links import said

ROUNDS = 40
NAMES = [f"s{number}" for number in range(6)]
DISPATCHES = [*Dispatch, *[Dispatch.AUTO] * 4]
ROLES = [SessionRole.ORCHESTRATOR, *[SessionRole.WORKER] * 5]


async def some_turns(chance: random.Random) -> None:
    """Let others go first, for a while that nobody can foresee."""
    for _ in range(chance.randint(0, 4)):
        await asyncio.sleep(0)


class MoodyStore(MemoryStore):
    """Takes its time before and after it writes, and loses the answer when it is told to."""

    chance = random.Random(0)
    mute = False

    async def txn(
        self, compares: Sequence[Compare], success: Sequence[Op], failure: Sequence[Op] = ()
    ) -> TxnResult:
        await some_turns(self.chance)
        result = await super().txn(compares, success, failure)
        await some_turns(self.chance)
        if self.mute:
            self.mute = False
            raise StoreUnavailable("the answer was lost")
        return result


class Crowd:
    """Swarms that do whatever comes to their minds."""

    def __init__(self, fabric: Fabric, chance: random.Random) -> None:
        self.fabric = fabric
        self.chance = chance
        self.links: dict[str, SessionLink] = {}
        self.tokens: dict[str, str] = {}
        self.created = 0
        # What swarms gave back or did not want: they may not be given it again.
        self.unwanted: set[tuple[str, str]] = set()

    def home(self, _swarm_id: str) -> Fabric:
        """Return where the session of a swarm is."""
        return self.fabric

    async def act(self) -> None:
        """Do something, which may be refused."""
        live = [task for _, task in self.fabric.coordinator.tasks.items() if not task.state.ended]
        task = self.chance.choice(live) if live else None
        swarm_id = self.chance.choice(NAMES)
        with suppress(FabricError):
            if self.chance.random() < 0.3:
                await self.come_or_go(swarm_id)
            elif task is None or self.chance.random() < 0.25:
                await self.create(task)
            elif task.claim is None:
                await self.place(swarm_id, task)
            else:
                await self.work(task.claim.swarm_id, task)

    async def come_or_go(self, swarm_id: str) -> None:
        link = self.links.get(swarm_id)
        sessions = self.home(swarm_id).coordinator.sessions
        what = self.chance.choice(["join", "join", "cut", "gone", "expire", "close", "deregister"])
        if what == "join":
            await self.join(swarm_id)
        elif what == "deregister":
            await self.fabric.coordinator.registration.deregister(swarm_id)
        elif link is None:
            return
        elif what == "cut":
            link.end(ClosingAction.RESUME, "cut")
        elif what == "gone":
            sessions.detach(self.links.pop(swarm_id))
        elif what == "expire":
            await self.fabric.store.revoke(link.lease)
        elif link.live:
            await sessions.close(link, "bye")

    async def join(self, swarm_id: str) -> None:
        token = self.tokens.get(swarm_id, "") if self.chance.random() < 0.4 else ""
        link = self.links[swarm_id] = await self.fabric.join(
            swarm_id,
            set(self.chance.sample("xyz", self.chance.randint(1, 3))),
            slots=self.chance.randint(1, 3),
            credit=self.chance.choice([None, None, 5]),
            token=token,
            role=self.chance.choice(ROLES),
        )
        for frame in await said(link):
            if isinstance(frame, Opened):
                self.tokens[swarm_id] = frame.resume_token

    async def create(self, before: Task | None) -> None:
        depends = [before.task_id] if before is not None and self.chance.random() < 0.3 else []
        first, self.created = self.created, self.created + 3
        board = [
            new_task(
                f"t{first + position}",
                *depends,
                needs=set(self.chance.sample("xyz", self.chance.randint(0, 2))),
                dispatch=self.chance.choice(DISPATCHES),
                priority=self.chance.randint(-1, 1),
                filler=self.chance.random() < 0.2,
                position=position,
            )
            for position in range(self.chance.randint(1, 3))
        ]
        await self.fabric.create(*board)

    async def place(self, swarm_id: str, task: Task) -> None:
        link = self.links.get(swarm_id)
        coordinator = self.fabric.coordinator
        match self.chance.choice(["push", "broadcast", "assign", "claim", "claim", "decline"]):
            case "push":
                await coordinator.push_task_to_swarm(swarm_id, task.task_id)
            case "broadcast":
                await coordinator.placing.broadcast(task.task_id)
            case "assign":
                await coordinator.placing.assign(task.task_id)
            case "claim":
                epoch = link.epoch if link is not None and self.chance.random() < 0.6 else None
                await coordinator.claims.claim(swarm_id, task.task_id, epoch)
            case _ if link is not None:
                self.unwanted.add((swarm_id, task.task_id))
                placing = self.home(swarm_id).coordinator.placing
                await placing.decline(link, task.task_id, 0)

    async def work(self, swarm_id: str, task: Task) -> None:
        link = self.links.get(swarm_id)
        coordinator = self.fabric.coordinator
        epoch = link.epoch if link is not None and self.chance.random() < 0.7 else None
        held = (swarm_id, task.task_id, task.attempt)
        match self.chance.choice(
            ["complete", "complete", "fail", "release", "block", "resolve", "cancel", "decline"]
        ):
            case "complete":
                await coordinator.claims.complete(
                    *held, result_json="{}", cost_micros=1, epoch=epoch
                )
            case "fail":
                kind = FailureKind.PERMANENT
                await coordinator.claims.fail(
                    *held, reason="", kind=kind, retry_time=None, epoch=epoch
                )
            case "release":
                self.unwanted.add((swarm_id, task.task_id))
                await coordinator.claims.release(*held, "", epoch)
            case "block":
                report = BlockerReport(
                    task_id=task.task_id, attempt=task.attempt, description="no key"
                )
                await coordinator.blocking.report(swarm_id, report, epoch)
            case "resolve":
                await coordinator.blocking.resolve(swarm_id, task.task_id, "there it is")
            case "cancel":
                await coordinator.endings.cancel(task.task_id, "enough")
            case _ if link is not None:
                self.unwanted.add((swarm_id, task.task_id))
                placing = self.home(swarm_id).coordinator.placing
                await placing.decline(link, task.task_id, task.attempt)

    async def calm_down(self) -> None:
        """Let streams that ended go, and let all make up their minds about offers."""
        for swarm_id, link in list(self.links.items()):
            if not link.live:
                self.fabric.coordinator.sessions.detach(self.links.pop(swarm_id))
        await self.fabric.settled()
        for link in self.fabric.parts.links.live():
            for task_id in list(link.offered):
                self.unwanted.add((link.swarm_id, task_id))
                with suppress(FabricError):
                    await self.fabric.coordinator.placing.decline(link, task_id, 0)
        await self.fabric.settled()


def check(fabric: Fabric, unwanted: Container[tuple[str, str]]) -> None:
    """Every task is where it belongs, and every session knows what it holds."""
    for entry in fabric.coordinator.tasks.entries():
        task = entry.value
        if task.claim is not None:
            check_claim(fabric, task)
        elif task.offered_to:
            session = fabric.fleet.sessions.get(task.offered_to)
            assert session is not None, f"{task.task_id} is offered to nobody"
            assert session.role is SessionRole.WORKER
        elif task.state is TaskState.AVAILABLE and task.dispatch is Dispatch.AUTO:
            takers = [
                name
                for name in fabric.fleet.swarms
                if could_take(fabric, name, task) and (name, task.task_id) not in unwanted
            ]
            assert not takers, f"{task.task_id} waits though there are {takers}"
        elif task.state is TaskState.BLOCKED:
            before = [fabric.task(name).state for name in task.spec.dependencies]
            assert any(not state.ended for state in before), f"{task.task_id} is blocked: {before}"
    for link in fabric.parts.links.live():
        for task_id, attempt in link.working.items():
            held = fabric.task(task_id).claim
            assert held is not None, f"{link.swarm_id} works on {task_id}, which nobody holds"
            assert (held.swarm_id, held.attempt) == (link.swarm_id, attempt)
    for blocker in fabric.coordinator.blockers.entries():
        alert = blocker.value
        if alert.open:
            held = fabric.task(alert.task_id).claim
            assert held is not None
            assert held.parked


def check_claim(fabric: Fabric, task: Task) -> None:
    held = task.claim
    assert held is not None
    assert held.swarm_id in fabric.fleet.swarms, f"{task.task_id} is held by nobody"
    if held.expire_time is None:
        assert held.swarm_id in fabric.fleet.sessions, f"{task.task_id} is held by no session"
        link = fabric.parts.links.get(held.swarm_id)
        if link is not None and not held.parked:
            assert link.working.get(task.task_id) == held.attempt


def could_take(fabric: Fabric, swarm_id: str, task: Task) -> bool:
    profile = fabric.fleet.swarms.get(swarm_id)
    link = fabric.parts.links.get(swarm_id)
    if profile is None or link is None or not link.takes_work:
        return False
    held = fabric.coordinator.held_by(swarm_id)
    parked = [name for name in held if (claim := fabric.task(name).claim) and claim.parked]
    if len(held) - len(parked) >= profile.max_concurrent_tasks or (parked and not task.spec.filler):
        return False
    return DEFAULT.qualifies(task.spec.required_capabilities, profile.capabilities)


@pytest.mark.parametrize("seed", range(40, 60))
async def test_c4_whatever_happens_at_once_nothing_is_forgotten(seed: int) -> None:
    """C4, C10: no task waits beside a free swarm, none is held by nobody, sessions know theirs."""
    chance = random.Random(seed)
    store = await MoodyStore.open()
    store.chance = chance
    async with running_fabric(store, limits=Limits(lease=60.0, ack=3600.0)) as fabric:
        crowd = Crowd(fabric, chance)
        for _ in range(ROUNDS):
            await asyncio.gather(*(crowd.act() for _ in range(chance.randint(1, 12))))
            for link in crowd.links.values():
                await said(link)
        await crowd.calm_down()
        check(fabric, crowd.unwanted)
    await store.close()


async def blocked_with_a_claim(fabric: Fabric) -> None:
    """Let a swarm `s` without a session hold a task `t`, and be blocked on something else."""
    await fabric.coordinator.register_swarm("s", frozenset())
    await fabric.create(new_task("t", dispatch=Dispatch.MANUAL))
    await fabric.coordinator.claim_task("s", "t")
    await fabric.coordinator.detect_blocker("s", BlockerReport(description="no key"))


async def test_c3_a_deregistration_whose_answer_is_lost_gives_everything_back() -> None:
    store = await MoodyStore.open()
    async with running_fabric(store) as fabric:
        await blocked_with_a_claim(fabric)
        store.mute = True
        with pytest.raises(StoreUnavailable):
            await fabric.coordinator.registration.deregister("s")
        await fabric.settled()
        assert fabric.task("t").state is TaskState.AVAILABLE
        assert len(fabric.coordinator.blockers) == 0
    await store.close()


async def test_c3_a_deregistration_that_a_crash_cut_off_is_finished_after_it() -> None:
    data = MemoryData()
    store = await MoodyStore.open(data)
    async with running_fabric(store) as fabric:
        await blocked_with_a_claim(fabric)
    await store.txn([], [fabric.fleet.swarms.delete("s")])
    await store.close()
    store = await MoodyStore.open(data)
    async with running_fabric(store) as fabric:
        await fabric.settled()
        assert fabric.task("t").state is TaskState.AVAILABLE
        assert len(fabric.coordinator.blockers) == 0
    await store.close()


async def test_c3_a_deregistered_swarm_is_told_to_stop(fabric: Fabric) -> None:
    link = await fabric.join("s", {"x"})
    await fabric.create(new_task("t", needs={"x"}))
    await fabric.coordinator.detect_blocker("s", BlockerReport(description="no key"))
    assert await fabric.coordinator.registration.deregister("s") == ["t"]
    closing = [frame.action for frame in await said(link) if isinstance(frame, Closing)]
    assert closing == [ClosingAction.STOP]


async def test_c10_an_opening_whose_answer_is_lost_fences_the_older_stream() -> None:
    store = await MoodyStore.open()
    async with running_fabric(store) as fabric:
        older = await fabric.join("s", {"x"})
        store.mute = True
        with pytest.raises(StoreUnavailable):
            await fabric.join("s", {"x"})
        await fabric.settled()
        ending = older.ending_of()
        assert ending.error is not None
        assert ending.error.reason is Reason.SESSION_FENCED
        # It would be chosen, and refused, again and again.
        await fabric.create(new_task("t", needs={"x"}))
        await fabric.settled()
        assert fabric.task("t").state is TaskState.AVAILABLE
    await store.close()
