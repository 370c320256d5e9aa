"""GovernorService."""

from infrafabric_server.governor.governor import IFGovernor
from infrafabric_server.governor.service.matching import MatchingCalls


class GovernorServicer(MatchingCalls):
    """All calls of the governor."""

    def __init__(self, governor: IFGovernor) -> None:
        self.governor = governor
