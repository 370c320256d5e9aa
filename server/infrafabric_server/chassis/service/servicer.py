"""ChassisService."""

from infrafabric_server.chassis.reports import Reports
from infrafabric_server.chassis.service.standing import StandingCalls


class ChassisServicer(StandingCalls):
    """All calls of the chassis."""

    def __init__(self, reports: Reports) -> None:
        self.reports = reports
