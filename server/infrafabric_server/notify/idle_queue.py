"""Who waits for work, the longest first."""

from bisect import bisect_left, insort
from datetime import datetime

from infrafabric_server.fleet.models import AgentStatus, Status
from infrafabric_server.store.mirror import Change, View


class IdleQueue:
    """The idle swarms that can be reached, by the time since which they wait, then by id.

    Kept from the view of statuses; a place among 10,000 is found in microseconds.
    """

    def __init__(self, statuses: View[AgentStatus]) -> None:
        self._statuses = statuses
        self._waiting: list[tuple[datetime, str]] = []

    def start(self) -> None:
        """Take in the statuses as they are, and follow them from now on."""
        places = (_place(status) for _, status in self._statuses.items())
        self._waiting = sorted(place for place in places if place is not None)
        self._statuses.subscribe(self._changed)

    def __len__(self) -> int:
        return len(self._waiting)

    def ids(self) -> list[str]:
        """Return the ids of all that wait, in order."""
        return [swarm_id for _, swarm_id in self._waiting]

    def position(self, swarm_id: str) -> int:
        """Return the place of a swarm, from 1; 0 if it does not wait."""
        status = self._statuses.get(swarm_id)
        place = None if status is None else _place(status)
        return 0 if place is None else bisect_left(self._waiting, place) + 1

    def _changed(self, change: Change[AgentStatus]) -> None:
        old = None if change.old is None else _place(change.old)
        new = None if change.new is None else _place(change.new)
        if old == new:
            return
        if old is not None:
            del self._waiting[bisect_left(self._waiting, old)]
        if new is not None:
            insort(self._waiting, new)


def _place(status: AgentStatus) -> tuple[datetime, str] | None:
    if status.status is not Status.IDLE or status.waiting_since is None:
        return None
    return status.waiting_since, status.swarm_id
