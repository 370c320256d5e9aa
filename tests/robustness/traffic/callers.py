"""Swarms without a session, which claim by unary calls."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

from infrafabric import FabricError
from infrafabric.v1.coordinator_claim_pb2 import ClaimTaskResponse
from infrafabric.v1.task_pb2 import (
    CLAIM_REFUSAL_SWARM_UNKNOWN,
    DISPATCH_MANUAL,
    TASK_STATE_AVAILABLE,
    Task,
    TaskState,
)
from tests.robustness.evidence import PROVIDERS
from tests.robustness.traffic.actor import Stepper, World
from tests.robustness.traffic.helpers import ask_for_help

SLOTS = 2
# All callers look at the same few tasks, so that they meet.
_FIRST = 3
_LEAVING = 0.05


class Caller(Stepper):
    """Claims by hand, against the others, and ends its claims or leaves them to time.

    Args:
        name: in the history, and of the swarm.
        world: what it shares with the others.
        leaves: whether the swarm is deregistered now and then, and comes back.
    """

    def __init__(self, name: str, world: World, *, leaves: bool = False) -> None:
        super().__init__(name, world)
        self._leaves = leaves
        self._registered = False

    async def step(self) -> None:
        """Claim one task and do something with it."""
        if not self._registered:
            answer = await self.ask(
                "register",
                lambda client: client.swarms.register(
                    self.name, ["a"], max_concurrent_tasks=SLOTS, credential_pool="callers"
                ),
                swarm_id=self.name,
            )
            self._registered = not isinstance(answer, FabricError)
            return
        if self._leaves and not self.world.closing.is_set() and self.chance.random() < _LEAVING:
            await self.insist(
                "deregister",
                lambda client: client.swarms.deregister(self.name),
                swarm_id=self.name,
            )
            self._registered = False
            return
        task_id = await self._choice()
        if task_id is None:
            await self.pause(0.05, 0.2)
            return
        won = await self._claim(task_id)
        if won:
            await self._use(task_id, won)
        await self.pause(0.0, 0.1)

    async def _choice(self) -> str | None:
        if self.world.closing.is_set():
            # What the watch has missed must not be left over.
            client = await self.client()
            try:
                found = [
                    task.task_id
                    async for task in client.tasks.list(states=[TASK_STATE_AVAILABLE])
                    if task.dispatch == DISPATCH_MANUAL
                ]
            except FabricError:
                await self.move()
                return None
        else:
            found = list(islice(self._seen(), _FIRST))
        return self.chance.choice(found) if found else None

    def _seen(self) -> Iterator[str]:
        return iter(sorted(self.world.manual))

    async def _claim(self, task_id: str) -> int:
        """Claim a task; return the attempt, 0 when it was not won."""
        answer = await self.ask(
            "claim",
            lambda client: client.claims.claim(self.name, task_id),
            answer=_claim_answer,
            swarm_id=self.name,
            task_id=task_id,
        )
        if isinstance(answer, FabricError):
            return 0
        if not answer.claimed:
            self._registered = answer.refusal != CLAIM_REFUSAL_SWARM_UNKNOWN
            return 0
        self.holds(task_id, answer.task.attempt, self.name)
        return answer.task.attempt

    async def _progress(self, claim: tuple[str, str, int], about: dict[str, Any]) -> None:
        note, percent = f"note-{self.recorder.tag()}", self.chance.choice((0, 25, 50, 75))
        # Not repeated: without a request id a repeat is another milestone.
        await self.ask(
            "progress",
            lambda client: client.claims.progress(*claim, percent, note=note),
            tag=note,
            **about,
        )

    async def _use(self, task_id: str, attempt: int) -> None:
        about: dict[str, Any] = {"swarm_id": self.name, "task_id": task_id, "attempt": attempt}
        claim = (self.name, task_id, attempt)
        for _ in range(self.chance.randrange(3)):
            await self._progress(claim, about)
        if self.chance.random() < 0.2:
            await self.ask("extend", lambda client: client.claims.extend(*claim), **about)
        ways = {"complete": 20, "fail": 4, "provider": 1}
        if not self.world.closing.is_set():
            ways |= {"release": 4, "block": 2, "help": 3, "leave": 4}
        tag = self.price()
        match self.chance.choices(list(ways), list(ways.values()))[0]:
            case "complete":
                await self.insist(
                    "complete",
                    lambda client: client.claims.complete(*claim, {"cost": tag}, cost_micros=tag),
                    tag=tag,
                    **about,
                )
            case "fail" | "provider" as way:
                reason = f"{PROVIDERS if way == 'provider' else 'failed-'}{tag}"
                again = shortly() if way == "provider" else None
                await self.insist(
                    "fail",
                    lambda client: client.claims.fail(
                        *claim, reason, provider="rate" if again else None, retry_time=again
                    ),
                    tag=reason,
                    **about,
                )
            case "release":
                reason = f"released-{tag}"
                await self.insist(
                    "release",
                    lambda client: client.claims.release(*claim, reason),
                    tag=reason,
                    **about,
                )
            case "block":
                text = f"blocked-{tag}"
                await self.ask(
                    "block",
                    lambda client: client.claims.report_blocker(
                        self.name, text, task_id=task_id, attempt=attempt
                    ),
                    tag=text,
                    **about,
                )
            case "help":
                await ask_for_help(self, *claim)
            case _:
                return


def shortly() -> datetime:
    """Return when a provider has quota again."""
    return datetime.now(UTC) + timedelta(seconds=1.0)


def _claim_answer(answer: ClaimTaskResponse) -> dict[str, object]:
    return {
        "claimed": answer.claimed,
        "attempt": answer.task.attempt,
        "refusal": answer.refusal,
        "owner": answer.owner_swarm_id,
    }


def shown(task: Task) -> dict[str, object]:
    """Return what the history keeps of a task."""
    return {
        "task_id": task.task_id,
        "state": TaskState.Name(task.state).removeprefix("TASK_STATE_"),
        "attempt": task.attempt,
        "owner": task.owner_swarm_id,
        "parked": task.parked,
        "milestone": task.milestone_percent,
    }
