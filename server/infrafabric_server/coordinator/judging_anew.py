"""What follows when another policy comes into force."""

import asyncio
from collections.abc import Callable

from infrafabric_server.coordinator.background import Background
from infrafabric_server.coordinator.dispatcher import Dispatcher
from infrafabric_server.coordinator.link import Links
from infrafabric_server.coordinator.offers import Offers
from infrafabric_server.coordinator.scheduler import Scheduler

# Waiting tasks that are sorted in one turn of the event loop: one or two milliseconds.
_TURN = 16


class JudgingAnew:
    """Has everything looked at again that the policy before may have decided otherwise."""

    def __init__(
        self,
        scheduler: Scheduler,
        offers: Offers,
        dispatcher: Dispatcher,
        links: Links,
        background: Background,
        refresh: Callable[[str], None],
    ) -> None:
        """Take what waits, whom to tell, and `refresh`, which looks at one swarm again."""
        self._scheduler = scheduler
        self._offers = offers
        self._dispatcher = dispatcher
        self._links = links
        self._background = background
        self._refresh = refresh

    def policy_changed(self) -> None:
        """Look again at what every swarm may be given, and sort what waits by the policy."""
        self._look()
        self._background.spawn("judge_anew", self._follow)

    def _look(self) -> None:
        self._scheduler.policy_changed()
        self._dispatcher.wake()

    async def _follow(self) -> None:
        """Do in turns what takes its time, with many tasks or many sessions."""
        if not self._sorted():
            for _ in iter(self._sorted, True):
                await asyncio.sleep(0)
            self._look()
        for link in self._links.live():
            self._refresh(link.swarm_id)
            await asyncio.sleep(0)

    def _sorted(self) -> bool:
        return self._scheduler.sort(_TURN) and self._offers.sort(_TURN)
