"""A swarm's session: the protocol without I/O, and what carries it over gRPC.

protocol, dialogue, workload, holdings, requests, outgoing, credit and events are pure:
frames in, events and frames out. link carries frames over streams, exchange and deliveries
bring answers and tasks to those who wait for them, and session and handle are what a worker
uses.
"""

from infrafabric.session.handle import TaskHandle
from infrafabric.session.session import ClaimOutcome, Session, SessionOptions

__all__ = ["ClaimOutcome", "Session", "SessionOptions", "TaskHandle"]
