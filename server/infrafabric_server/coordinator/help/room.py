"""How many requests for help there is room for: of each swarm, and in all."""

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from infrafabric_server.coordinator.help.involved import Involved
from infrafabric_server.coordinator.help.liveness import Liveness
from infrafabric_server.errors import FabricError, FieldViolation, Reason
from infrafabric_server.governor.help.models import HelpRequest
from infrafabric_server.governor.help.rules import MAX_LIVE, MAX_LIVE_PER_SWARM
from infrafabric_server.store.view import View


class Room:
    """Counts what is live, by the views, together with what is being written here.

    Whoever asks lets the views catch up first. Another replica that is asked at the same moment
    does not know of what is being written here: each may let in as many as there is room for.
    """

    def __init__(
        self,
        requests: View[HelpRequest],
        involved: Involved,
        liveness: Liveness,
        *,
        most: int = MAX_LIVE,
        most_per_swarm: int = MAX_LIVE_PER_SWARM,
    ) -> None:
        """Take what is counted; at most so many may be live in all, and of each swarm."""
        self._requests = requests
        self._involved = involved
        self._liveness = liveness
        self._most = most
        self._most_per_swarm = most_per_swarm
        self._written: Counter[str] = Counter()

    @contextmanager
    def place(self, swarm_id: str) -> Iterator[None]:
        """Keep a place for a new request of a swarm while that is written.

        Raises:
            FabricError: LIMIT_REACHED.
        """
        live = self._live(self._involved.made(swarm_id))
        if live + self._written[swarm_id] >= self._most_per_swarm:
            rule = f"must have fewer than {self._most_per_swarm} live requests for help to make one"
            raise _full(rule, f"{swarm_id} has as many; resolve a blocker of it first")
        if self._involved.lasting + self._written.total() >= self._most:
            rule = f"may make one while the fabric has fewer than {self._most} live ones"
            raise _full(rule, "it has as many; try again when some have ended")
        self._written[swarm_id] += 1
        try:
            yield
        finally:
            self._written[swarm_id] -= 1
            # Only what is written now is remembered, not whoever asked once.
            self._written += Counter()

    def helping(self, swarm_id: str) -> int:
        """Return with how many live requests a swarm helps."""
        return self._live(self._involved.helping(swarm_id))

    def _live(self, help_ids: Iterable[str]) -> int:
        found = (self._requests.get(each) for each in help_ids)
        return sum(each is not None and not self._liveness.over(each) for each in found)


def _full(rule: str, what: str) -> FabricError:
    return FabricError(
        Reason.LIMIT_REACHED,
        f"swarm_id: {rule}; {what}",
        fields=[FieldViolation("swarm_id", rule)],
    )
