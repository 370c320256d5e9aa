"""ChassisService."""

from infrafabric_server.chassis.chassis import Chassis
from infrafabric_server.chassis.credentials.credentials import Credentials
from infrafabric_server.chassis.reports import Reports
from infrafabric_server.chassis.service.credentials import CredentialCalls
from infrafabric_server.chassis.service.execution import ExecutionCalls
from infrafabric_server.chassis.service.modules import ModuleCalls
from infrafabric_server.chassis.service.places import Places
from infrafabric_server.chassis.service.standing import StandingCalls


class ChassisServicer(ModuleCalls, ExecutionCalls, StandingCalls, CredentialCalls):
    """All calls of the chassis."""

    def __init__(self, reports: Reports, chassis: Chassis, credentials: Credentials) -> None:
        self.reports = reports
        self.chassis = chassis
        self.credentials = credentials
        self.uploads, self.loads = Places(), Places()
