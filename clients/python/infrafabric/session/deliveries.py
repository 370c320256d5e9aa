"""Brings what happens on the stream to those who wait for it."""

import asyncio
import logging

from infrafabric.errors import FabricError, SessionEnded
from infrafabric.session.events import (
    Answered,
    BlockerAlerted,
    BroadcastReceived,
    Event,
    Halted,
    HelpWanted,
    Opened,
    TaskEnded,
    TaskLost,
    TaskReceived,
    TaskReturned,
)
from infrafabric.session.exchange import Exchange
from infrafabric.session.handle import TaskHandle
from infrafabric.session.holdings import Claim
from infrafabric.session.inbox import Inbox
from infrafabric.v1.blocker_pb2 import Blocker
from infrafabric.v1.governor_breaker_pb2 import HaltFrame
from infrafabric.v1.help_pb2 import HelpRequest
from infrafabric.v1.session_server_pb2 import REVOKE_REASON_UNSPECIFIED
from infrafabric.v1.status_pb2 import BroadcastMessage
from infrafabric.v1.task_pb2 import Task

_log = logging.getLogger(__name__)

# Texts and alerts that nobody has iterated over yet; the oldest go first.
_MAX_NEWS = 1_000


class Deliveries:
    """The handles of the claims that are held, and what waits to be iterated over.

    Args:
        exchange: gives answers to those who asked.

    Attributes:
        opened: set while the stream is open, and for good at the end.
        tasks: tasks to hand out, each with whether it counts against the credit.
        broadcasts: texts for everyone.
        alerts: incidents, for an orchestrator.
        halts: orders to stop all work.
        help_wanted: requests for help that the swarm has to do with.
    """

    def __init__(self, exchange: Exchange) -> None:
        self.opened = asyncio.Event()
        # Bounded by the credit and the slots of the session.
        self.tasks: Inbox[tuple[TaskHandle, bool]] = Inbox()
        self.broadcasts: Inbox[BroadcastMessage] = Inbox(_MAX_NEWS)
        self.alerts: Inbox[Blocker] = Inbox(_MAX_NEWS)
        self.halts: Inbox[HaltFrame] = Inbox(_MAX_NEWS)
        self.help_wanted: Inbox[HelpRequest] = Inbox(_MAX_NEWS)
        self._exchange = exchange
        self._handles: dict[Claim, TaskHandle] = {}

    def held(self, task_id: str, attempt: int) -> TaskHandle | None:
        """Return the handle of a claim, while it is held."""
        return self._handles.get((task_id, attempt))

    def handle(self, events: list[Event]) -> None:
        """Handle what happened on the stream."""
        for event in events:
            match event:
                case Opened():
                    self.opened.set()
                case BroadcastReceived(message=message):
                    self.broadcasts.put(message)
                case BlockerAlerted(blocker=blocker):
                    self.alerts.put(blocker)
                case Halted(frame=frame):
                    self.halts.put(frame)
                case HelpWanted(help=wanted):
                    self.help_wanted.put(wanted)
                case TaskReceived() | TaskReturned() | TaskLost() | TaskEnded():
                    self._task(event)
                case Answered(reply=reply) if reply.claim.claimed:
                    self._adopt(reply.claim.task)
            self._exchange.settle(event)

    def disconnected(self, error: FabricError | None) -> None:
        """Note that there is no stream at the moment."""
        _log.warning("session disconnected: %s", error or "the server ended the stream")
        self.opened.clear()
        self._exchange.cut()

    def end(self, failure: BaseException | None) -> None:
        """Void every claim and end every iteration; None for a session that was closed."""
        over = failure or SessionEnded("the session is closed")
        for (task_id, attempt), handle in self._handles.items():
            handle.revoke(TaskLost(task_id, attempt, REVOKE_REASON_UNSPECIFIED, str(over)))
        self._handles.clear()
        self._exchange.end(over)
        for inbox in (self.tasks, self.broadcasts, self.alerts, self.halts, self.help_wanted):
            inbox.end(failure)
        self.opened.set()

    def _task(self, event: TaskReceived | TaskReturned | TaskLost | TaskEnded) -> None:
        if isinstance(event, TaskReceived):
            self.tasks.put((self._adopt(event.task), True))
            return
        # A claim that was given back for a caller who has gone has no handle.
        handle = self.held(event.task_id, event.attempt)
        if handle is None:
            return
        if isinstance(event, TaskReturned):
            handle.resume()
            return
        del self._handles[event.task_id, event.attempt]
        if isinstance(event, TaskLost):
            handle.revoke(event)

    def _adopt(self, task: Task) -> TaskHandle:
        handle = TaskHandle(task, self._exchange, self._bring_again)
        return self._handles.setdefault((task.task_id, task.attempt), handle)

    def _bring_again(self, handle: TaskHandle) -> None:
        self.tasks.put((handle, False))
