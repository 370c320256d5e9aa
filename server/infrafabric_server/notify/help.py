"""Who could help a swarm that asks: idle swarms that cover enough of what is needed."""

import asyncio
from collections.abc import Iterator
from itertools import islice

from infrafabric_server.fleet.fleet import Fleet
from infrafabric_server.governor.helpers import Helper as IdleSwarm
from infrafabric_server.governor.helpers import rank_helpers
from infrafabric_server.governor.matching import coverage
from infrafabric_server.notify.idle_queue import IdleQueue
from infrafabric_server.notify.models import Helper

# Idle swarms that are looked at in one go: about a millisecond of the loop.
_PART = 1000


class HelpSearch:
    """Looks through the idle queue, the longest waiting first."""

    def __init__(self, fleet: Fleet, queue: IdleQueue) -> None:
        self._fleet = fleet
        self._queue = queue

    async def find(self, asker: str, needs: frozenset[str]) -> tuple[Helper, ...]:
        """Return the swarms that cover at least half of `needs`, best first, at most 20.

        Without needs, what the asker itself can do is needed.
        """
        profile = self._fleet.swarms.get(asker)
        needs = needs or (frozenset() if profile is None else profile.capabilities)
        idle = self._idle(asker)
        best: list[IdleSwarm] = []
        while part := list(islice(idle, _PART)):
            able = {each.swarm_id: each for each in (*best, *part)}
            best = [able[swarm_id] for swarm_id in rank_helpers(needs, able.values())]
            await asyncio.sleep(0)
        return tuple(_helper(needs, each) for each in best)

    def _idle(self, asker: str) -> Iterator[IdleSwarm]:
        for place, swarm_id in enumerate(self._queue.ids()):
            profile = self._fleet.swarms.get(swarm_id)
            if profile is not None and swarm_id != asker:
                yield IdleSwarm(swarm_id, profile.capabilities, place)


def _helper(needs: frozenset[str], idle: IdleSwarm) -> Helper:
    met = needs & idle.capabilities
    return Helper(idle.swarm_id, float(coverage(needs, idle.capabilities)), tuple(sorted(met)))
