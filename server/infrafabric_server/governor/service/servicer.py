"""GovernorService."""

from infrafabric_server.governor.escalation.desk import Desk
from infrafabric_server.governor.governor import IFGovernor
from infrafabric_server.governor.service.escalations import EscalationCalls
from infrafabric_server.governor.service.matching import MatchingCalls
from infrafabric_server.store.feed import Feed


class GovernorServicer(MatchingCalls, EscalationCalls):
    """All calls of the governor."""

    def __init__(self, governor: IFGovernor, desk: Desk, escalation_feed: Feed) -> None:
        self.governor = governor
        self.desk = desk
        self.escalation_feed = escalation_feed
