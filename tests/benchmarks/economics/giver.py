"""Gives work without the governor: by a rule that knows who is free, and nothing else."""

import asyncio
from collections.abc import Callable

from infrafabric_server.coordinator.models import Refusal, Task, TaskState
from infrafabric_server.store.mirror import Change
from tests.benchmarks.economics.regimes import Choose
from tests.benchmarks.economics.world import Job, Swarm
from tests.harness.fabric import Fabric

# Why a claim may be lost here: what the fabric keeps from a swarm, where it may.
_KEPT = (Refusal.BREAKER_OPEN, Refusal.BUDGET)
# For so long, in seconds, a swarm is left alone that was refused a task.
_ASIDE = 600.0


class Giver:
    """Claims waiting tasks for free swarms, the oldest task first, as a dispatcher outside would.

    It hears of every task by the coordinator's view. A claim is one like any other: it is won
    in the store, for the swarm's session, and the task is pushed down it.
    """

    def __init__(
        self,
        fabric: Fabric,
        swarms: dict[str, Swarm],
        job_of: Callable[[str], Job],
        choose: Choose,
    ) -> None:
        self._fabric = fabric
        self._job_of = job_of
        self._swarms = swarms
        self._choose = choose
        self._waiting: dict[str, None] = {}
        self._free: dict[str, None] = dict.fromkeys(swarms)
        self._changed = asyncio.Event()
        fabric.coordinator.tasks.subscribe(self._task_changed)
        fabric.breakers.records.breakers.subscribe(lambda _: self._changed.set())

    async def run(self) -> None:
        """Give work whenever there is some and somebody is free, until cancelled."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            for task_id in list(self._waiting):
                if not (free := self._open()):
                    break
                if task_id not in self._waiting:
                    continue
                swarm = self._choose(self._job_of(task_id), free)
                if swarm is not None:
                    del self._free[swarm.swarm_id]
                    del self._waiting[task_id]
                    await self._give(swarm.swarm_id, task_id)

    def _open(self) -> list[Swarm]:
        closed = self._fabric.breakers.gate.closed
        return [self._swarms[each] for each in self._free if closed(each) is None]

    async def _give(self, swarm_id: str, task_id: str) -> None:
        session = self._fabric.fleet.sessions.entry(swarm_id)
        assert session is not None
        claims = self._fabric.coordinator.claims
        outcome = await claims.claim(swarm_id, task_id, session.mod_revision)
        if outcome.refusal in _KEPT:
            self._offer(task_id)
            asyncio.get_running_loop().call_later(_ASIDE, self._come_free, swarm_id)
        else:
            assert outcome.refusal is None, outcome

    def _task_changed(self, change: Change[Task]) -> None:
        old, new = change.old, change.new
        if old is not None and old.claim is not None and (new is None or new.claim is None):
            self._come_free(old.claim.swarm_id)
        if new is None or new.state is not TaskState.AVAILABLE:
            self._waiting.pop(change.id, None)
            return
        now = self._fabric.clock.now()
        pause = 0.0 if new.available_time is None else (new.available_time - now).total_seconds()
        asyncio.get_running_loop().call_later(max(0.0, pause), self._offer, change.id)

    def _come_free(self, swarm_id: str) -> None:
        self._free[swarm_id] = None
        self._changed.set()

    def _offer(self, task_id: str) -> None:
        task = self._fabric.coordinator.tasks.get(task_id)
        if task is not None and task.state is TaskState.AVAILABLE:
            self._waiting[task_id] = None
            self._changed.set()
