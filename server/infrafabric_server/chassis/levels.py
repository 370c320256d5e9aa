"""Which service level holds for a swarm: the policy's, but for what its contract promises."""

from collections.abc import Callable, Mapping

from infrafabric_server.governor.policy.book import PolicyBook
from infrafabric_server.governor.policy.models import Reputing, ServiceLevel

Promised = Callable[[str], Mapping[str, object]]
"""Given a swarm: what its contract promises, by the names of `ServiceLevel`; empty for nothing."""


def nothing_promised(_swarm_id: str) -> Mapping[str, object]:
    """Return nothing: no swarm has a contract."""
    return {}


class Levels:
    """The settings by which swarms are judged now; ask again for each decision."""

    def __init__(self, book: PolicyBook, promised: Promised = nothing_promised) -> None:
        self._book = book
        self._promised = promised

    def of(self, swarm_id: str) -> ServiceLevel:
        """Return what a swarm should keep."""
        level, promised = self._book.current.policy.slo_for(swarm_id), self._promised(swarm_id)
        return level.model_copy(update=promised) if promised else level

    @property
    def reputing(self) -> Reputing:
        """How reputations are counted."""
        return self._book.current.policy.reputation
