"""Python client of InfraFabric: sessions, tasks and status over gRPC.

`Session` is what a worker or an orchestrator runs in; `Client` makes every other call.
Both speak the messages of `infrafabric.v1` and raise the errors of `infrafabric.errors`.
"""

from infrafabric.calls import Calls
from infrafabric.client import Client
from infrafabric.errors import FabricError
from infrafabric.session import ClaimOutcome, Session, SessionOptions, TaskHandle

__all__ = [
    "Calls",
    "ClaimOutcome",
    "Client",
    "FabricError",
    "Session",
    "SessionOptions",
    "TaskHandle",
]
