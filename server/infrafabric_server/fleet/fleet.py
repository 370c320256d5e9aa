"""The fleet as the store knows it: registrations, sessions and statuses."""

from infrafabric_server.fleet.models import AgentStatus, FormerSwarm, SessionRecord, SwarmProfile
from infrafabric_server.store.mirror import Mirror


class Fleet:
    """Views of who is there. Each fact has one place: capabilities are those of the profile."""

    def __init__(self, mirror: Mirror) -> None:
        self.swarms = mirror.view("swarms/", SwarmProfile)
        self.sessions = mirror.view("sessions/", SessionRecord)
        self.statuses = mirror.view("statuses/", AgentStatus)
        self.departed = mirror.view("departed/", AgentStatus)
        self.former = mirror.view("former/", FormerSwarm)
