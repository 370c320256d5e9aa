"""What a person does while a session is helped: waits for the helpers, and lets it go on."""

import asyncio
import shlex
from collections.abc import Iterable, Iterator

from demo.helping import HELP_HOURS
from demo.picture import News
from demo.plan import HELPERS, RESCUE_FILE, Fleet, SessionPlan
from demo.trial import Command
from demo.view import View
from infrafabric import Client
from infrafabric.money import MICROS_PER_USD, format_usd
from infrafabric.v1.help_pb2 import HelpRequest

_LOOK = 0.05


class Rescue:
    """The help that a session gets from others.

    Args:
        infrafabric: runs the commands that a person would type.
        client: where to see who helps.
        fleet: who can, and at which price.
        asker: who needs it.
        view: where news go.
    """

    def __init__(
        self, infrafabric: Command, client: Client, fleet: Fleet, asker: SessionPlan, view: View
    ) -> None:
        assert asker.story is not None
        self._infrafabric = infrafabric
        self._client = client
        self._fleet = fleet
        self._asker = asker
        self._task_id = asker.story.task
        self._view = view

    async def run(self) -> None:
        """Let the session get stuck; resolve its blocker when two have done their part.

        Raises:
            RunFailedError: a command did not answer as it should.
        """
        await self._infrafabric("board", "import", str(RESCUE_FILE))
        helped = await self._helped()
        helpers = " and ".join(helped.helper_swarm_ids)
        spent, budget = format_usd(helped.spent_micros), format_usd(helped.budget_micros)
        self._view.tell(News(f"{helpers} did their part for {spent} of {budget} USD"))
        words = (
            *("blocker", "resolve", "here are both chapters"),
            *("--swarm", self._asker.id, "--task", self._task_id),
        )
        self._view.tell(News(f"$ infrafabric {shlex.join(words)}"))
        await self._infrafabric(*words)

    async def _helped(self) -> HelpRequest:
        """Return the request when all helpers have done their part, as their costs show."""
        told: set[str] = set()
        while True:
            async for wanted in self._client.help.list():
                for line in self._lines(wanted):
                    if line not in told:
                        told.add(line)
                        self._view.tell(News(line))
                helpers = wanted.helper_swarm_ids
                if len(helpers) == HELPERS and wanted.spent_micros >= self._price(helpers):
                    return wanted
            await asyncio.sleep(_LOOK)

    @staticmethod
    def _lines(wanted: HelpRequest) -> Iterator[str]:
        yield f"{wanted.swarm_id} asks for help with {wanted.task_id}: {wanted.reason}"
        for helper in wanted.helper_swarm_ids:
            yield f"{helper} helps {wanted.swarm_id}"

    def _price(self, helpers: Iterable[str]) -> int:
        hourly = sum(self._fleet.session(each).cost_per_hour for each in helpers)
        return round(HELP_HOURS * hourly * MICROS_PER_USD)
