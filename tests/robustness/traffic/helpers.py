"""Those who ask for help, and those who gang up on what somebody is blocked on."""

from typing import Any

from infrafabric import FabricError
from infrafabric.v1.help_pb2 import (
    HELP_STATE_ENDED,
    HELP_URGENCY_CRITICAL,
    HELP_URGENCY_HIGH,
    HELP_URGENCY_LOW,
    HelpRequest,
)
from tests.robustness.traffic.actor import Actor, Stepper, World
from tests.robustness.traffic.spending import MOST_AT_A_TIME

_URGENCIES = (HELP_URGENCY_LOW, HELP_URGENCY_LOW, HELP_URGENCY_HIGH, HELP_URGENCY_CRITICAL)
# Less than some helpers spend together.
_LITTLE = 2_500
# What nobody can do.
_UNKNOWN = "magic"


async def ask_for_help(actor: Actor, swarm_id: str, task_id: str, attempt: int) -> None:
    """Ask for help with a claim, under a request id that is repeated until the outcome is known."""
    chance, text = actor.chance, f"help-{actor.recorder.tag()}"
    needs = chance.choice((["a"], ["b"], ["a", "b"], [_UNKNOWN]))
    urgency = chance.choice(_URGENCIES)
    budget = chance.choice((None, _LITTLE))
    await actor.insist(
        "help",
        lambda client: client.help.request(
            *(swarm_id, task_id, attempt, text, needs),
            urgency=urgency,
            budget_micros=budget,
            request_id=text,
        ),
        tag=text,
        swarm_id=swarm_id,
        task_id=task_id,
        attempt=attempt,
    )


async def accept(actor: Actor, swarm_id: str, help_id: str) -> bool:
    """Offer to help; tell whether the swarm helps."""
    answer = await actor.ask(
        "accept",
        lambda client: client.help.accept(swarm_id, help_id),
        answer=lambda said: {"accepted": said.accepted, "refusal": said.refusal_detail},
        swarm_id=swarm_id,
        help_id=help_id,
    )
    return not isinstance(answer, FabricError) and answer.accepted


class Helper(Stepper):
    """A swarm without a session that helps wherever it may, and also tries where it may not."""

    def __init__(self, name: str, world: World) -> None:
        super().__init__(name, world)
        self._registered = False

    async def step(self) -> None:
        """Accept one request, and spend something on it."""
        if self.world.closing.is_set():
            await self.world.over.wait()
            return
        if not self._registered:
            answer = await self.ask(
                "register",
                lambda client: client.swarms.register(self.name, ["a", "b"]),
                swarm_id=self.name,
            )
            self._registered = not isinstance(answer, FabricError)
            return
        found = await self._requests()
        if found:
            help_id = self.chance.choice(found[-4:]).help_id
            helps = await accept(self, self.name, help_id)
            if helps or self.chance.random() < 0.2:
                for _ in range(self.chance.randint(1, 2)):
                    await self._spend(help_id)
        await self.pause(0.02, 0.2)

    async def _requests(self) -> list[HelpRequest]:
        client = await self.client()
        try:
            found = [each async for each in client.help.list()]
        except FabricError:
            await self.move()
            return []
        live = [each for each in found if each.state != HELP_STATE_ENDED]
        return live or found if self.chance.random() < 0.3 else live

    async def _spend(self, help_id: str) -> None:
        operation = f"op-{self.recorder.tag()}"
        micros = self.chance.randint(1, MOST_AT_A_TIME)
        noted: dict[str, Any] = {"swarm_id": self.name, "help_id": help_id, "micros": micros}
        await self.insist(
            "help-cost",
            lambda client: client.budgets.track(
                self.name, operation, micros, help_id=help_id, request_id=operation
            ),
            tag=operation,
            **noted,
        )
