"""Those who spend money, and those who say how much may be spent."""

from collections.abc import Awaitable

from infrafabric import Client, FabricError
from infrafabric.v1.budget_pb2 import BUDGET_PERIOD_HOUR, BudgetReport
from infrafabric.v1.governor_budget_pb2 import SetBudgetRequest, TrackCostResponse
from tests.robustness.traffic.actor import Stepper, World

# Whose money it is about: all that are given work.
SWARMS = (
    *(f"worker-{n}" for n in range(4)),
    *(f"raw-{n}" for n in range(2)),
    *(f"caller-{n}" for n in range(3)),
)

MOST_AT_A_TIME = 2_000
"""What one cost is at most; far below what a completion costs."""

# Limits differ in their last six digits, by which their entries are known.
_STEP = 1_000_000
_FEW = 2


class Spender(Stepper):
    """Reports costs of swarms, and of claims that somebody had at some time."""

    async def step(self) -> None:
        """Report one cost; with a request id until its outcome is known, and some then again."""
        if self.world.closing.is_set():
            await self.world.over.wait()
            return
        swarm_id, task_id, attempt = self.chance.choice(SWARMS), "", 0
        if self.world.claimed and self.chance.random() < 0.7:
            task_id, attempt, swarm_id = self.chance.choice(self.world.claimed[-8:])
        operation = f"op-{self.recorder.tag()}"
        micros = self.chance.randint(1, MOST_AT_A_TIME)
        request_id = operation if self.chance.random() < 0.6 else ""

        def track(client: Client) -> Awaitable[TrackCostResponse]:
            return client.budgets.track(
                swarm_id,
                operation,
                micros,
                task_id=task_id,
                attempt=attempt,
                request_id=request_id,
            )

        call = self.insist if request_id else self.ask
        for _ in range(self.chance.choice((1, 1, 2)) if request_id else 1):
            await call(
                "cost",
                track,
                tag=operation,
                swarm_id=swarm_id,
                task_id=task_id,
                attempt=attempt,
                micros=micros,
            )
        await self.pause(0.02, 0.2)


class Treasurer(Stepper):
    """Sets low limits for swarms, tasks and the fabric, renews, raises and lifts them."""

    def __init__(self, name: str, world: World) -> None:
        super().__init__(name, world)
        self._limited: set[str] = set()

    async def step(self) -> None:
        """Change one limit; at the end lift all."""
        if self.world.closing.is_set():
            await self._lift_all()
            await self.pause(0.2, 0.4)
            return
        ways = {"low": 4, "task": 2, "fabric": 1}
        if self._limited:
            ways |= {"raise": 3, "lift": 3}
        if len(self._limited) >= _FEW:
            del ways["low"]
        match self.chance.choices(list(ways), list(ways.values()))[0]:
            case "low":
                swarm_id = self.chance.choice(SWARMS)
                self._limited.add(swarm_id)
                await self._limit(swarm_id, 1)
            case "raise":
                await self._limit(self.chance.choice(sorted(self._limited)), 4)
            case "lift":
                swarm_id = self.chance.choice(sorted(self._limited))
                self._limited.discard(swarm_id)
                await self._set(SetBudgetRequest(swarm_id=swarm_id))
            case "task":
                known = sorted(self.world.open)
                if known:
                    await self._limit_task(self.chance.choice(known))
            case _:
                await self._limit("", 4)
                await self.pause(0.2, 1.5)
                await self._limit("", 10)
                await self.pause(0.2, 1.0)
                await self._set(SetBudgetRequest(fabric=True))
        await self.pause(0.2, 1.0)

    async def _limit(self, swarm_id: str, steps: int) -> None:
        """Let a swarm, or the fabric without one, spend some steps more than it has."""
        report = await self.ask(
            "budget-report", lambda client: _report(client, swarm_id), swarm_id=swarm_id
        )
        if isinstance(report, FabricError):
            return
        # With none at all, the account is exhausted at once.
        whole = report.spent_micros // _STEP + self.chance.randint(0, steps)
        terms = SetBudgetRequest(limit_micros=whole * _STEP + self.recorder.tag())
        if swarm_id:
            terms.swarm_id = swarm_id
        else:
            terms.fabric = True
        if self.chance.random() < 0.3:
            terms.period = BUDGET_PERIOD_HOUR
        await self._set(terms)

    async def _limit_task(self, task_id: str) -> None:
        limit = self.chance.choice((0, 0, 1)) * _STEP + self.recorder.tag()
        await self._set(SetBudgetRequest(task_id=task_id, limit_micros=limit))
        await self.pause(0.1, 1.0)
        await self._set(SetBudgetRequest(task_id=task_id))

    async def _set(self, terms: SetBudgetRequest) -> None:
        # A limit is not repeated: somebody may have set another one in between. That there is none
        # is: the fleet would stand still for long.
        call = self.ask if terms.HasField("limit_micros") else self.insist
        await call(
            "budget",
            lambda client: client.budgets.limit(terms),
            tag=terms.limit_micros if terms.HasField("limit_micros") else "",
            swarm_id=terms.swarm_id,
            task_id=terms.task_id,
        )

    async def _lift_all(self) -> None:
        client = await self.client()
        try:
            limited = [
                report async for report in client.budgets.list() if report.HasField("limit_micros")
            ]
        except FabricError:
            await self.move()
            return
        for report in limited:
            # What was deregistered is known no more, and keeps its limit.
            terms = SetBudgetRequest(fabric=True)
            await self._set(terms if report.fabric else SetBudgetRequest(swarm_id=report.swarm_id))


async def _report(client: Client, swarm_id: str) -> BudgetReport:
    budgets = client.budgets
    return await (budgets.of_swarm(swarm_id) if swarm_id else budgets.of_fabric())
