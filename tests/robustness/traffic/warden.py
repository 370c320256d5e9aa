"""A person: opens breakers and holds the fabric now and then, and closes what is open."""

from infrafabric import FabricError
from infrafabric.v1.breaker_pb2 import (
    BREAKER_CAUSE_BUDGET,
    BREAKER_STATE_OPEN,
    CircuitBreaker,
)
from infrafabric.v1.escalation_pb2 import ESCALATION_STATE_OPEN
from tests.robustness.traffic.actor import Stepper
from tests.robustness.traffic.spending import SWARMS

_NAME = "Ann Lee"
# Well above what a swarm spends in a run.
_MUCH = 10**10


class Warden(Stepper):
    """Trips and resets breakers, holds the fabric, and acknowledges escalations."""

    async def step(self) -> None:
        """Do one thing to a swarm that works, and look after what is open."""
        closing = self.world.closing.is_set()
        if not closing:
            match self.chance.choices(("nothing", "trip", "hold"), (20, 3, 1))[0]:
                case "trip":
                    await self._trip(self.chance.choice(SWARMS))
                case "hold":
                    await self._trip("")
        for breaker in await self._open():
            if closing or self.chance.random() < 0.5:
                await self._reset(breaker)
        if self.chance.random() < 0.3:
            await self._acknowledge()
        await self.pause(0.1, 0.5)

    async def _trip(self, scope: str) -> None:
        text = f"trip-{self.recorder.tag()}"
        # Not repeated: in between it may have been closed.
        await self.ask(
            "trip" if scope else "hold",
            lambda client: client.breakers.trip(scope or None, text),
            tag=text,
            answer=lambda breaker: {"done": breaker.detail == text},
            swarm_id=scope,
        )

    async def _open(self) -> list[CircuitBreaker]:
        client = await self.client()
        try:
            return [
                breaker
                async for page in client.breakers.pages(BREAKER_STATE_OPEN)
                for breaker in page.breakers
            ]
        except FabricError:
            await self.move()
            return []

    async def _reset(self, breaker: CircuitBreaker) -> None:
        scope, text = breaker.swarm_id, f"reset-{self.recorder.tag()}"
        # A swarm may not close its own: that is refused.
        approver = self.chance.choice((_NAME, _NAME, _NAME, scope or SWARMS[0]))
        budget = None
        if breaker.cause == BREAKER_CAUSE_BUDGET and not self.world.closing.is_set():
            budget = _MUCH + self.recorder.tag()
        await self.ask(
            "reset" if scope else "end-hold",
            lambda client: client.breakers.reset(
                scope or None, approver=approver, reason=text, new_budget_micros=budget
            ),
            tag=text,
            answer=lambda closed: {"done": closed.reset_reason == text},
            swarm_id=scope,
            approver=approver,
        )

    async def _acknowledge(self) -> None:
        client = await self.client()
        try:
            found = [each async for each in client.escalations.list(ESCALATION_STATE_OPEN)]
        except FabricError:
            await self.move()
            return
        if not found:
            return
        text, about = f"seen-{self.recorder.tag()}", self.chance.choice(found).escalation_id
        await self.ask(
            "acknowledge",
            lambda client: client.escalations.acknowledge(about, _NAME, note=text),
            tag=text,
            answer=lambda known: {"done": known.acknowledgement == text},
            escalation_id=about,
        )
