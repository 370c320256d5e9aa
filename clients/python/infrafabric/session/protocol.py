"""The session stream as a state machine: no I/O, no clock and no randomness of its own.

The life of a session::

    IDLE --connect--> OPENING --opened--> OPEN
      ^                  |                  |
      +------ cut -------+------ cut -------+--> STOPPED: closed, fenced, refused for good

What outlives a stream: the token and the cursor to resume with, the claims, and every
unanswered request, which is asked again under the same id.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

from infrafabric.errors import FabricError, Refused, SessionExpired, SessionStopped, TryAgain
from infrafabric.session.credit import Credit
from infrafabric.session.dialogue import Dialogue
from infrafabric.session.events import (
    BlockerAlerted,
    BroadcastReceived,
    Event,
    Halted,
    HelpWanted,
    Opened,
    Superseded,
)
from infrafabric.session.outgoing import Outgoing
from infrafabric.session.requests import Request
from infrafabric.session.workload import Workload
from infrafabric.v1 import session_client_pb2 as client_pb2
from infrafabric.v1 import session_server_pb2 as server_pb2
from infrafabric.v1 import task_pb2
from infrafabric.v1.coordinator_service_pb2 import OpenSessionRequest, OpenSessionResponse
from infrafabric.v1.session_client_pb2 import ClientFrame

# An answer to `open` takes milliseconds; a server that needs seconds is in trouble.
_OPEN_LIMIT = 5.0


class State(Enum):
    """Where the session is in its life."""

    IDLE = auto()
    OPENING = auto()
    OPEN = auto()
    STOPPED = auto()


class BrokenStreamError(Exception):
    """The server's frames have a hole, or came before `opened`: connect again."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the session is.

    Attributes:
        open: first frame of each stream, without its token, cursor and credit.
        request_prefix: begins every request id; unique to this process.
        window: most task frames that wait for the consumer, at least 1.
        wanted: tells whether to claim a task that is on offer.
        random: returns a number in [0, 1).
        resume_token: token of the swarm's last stream, from an earlier process.
    """

    open: client_pb2.OpenFrame
    request_prefix: str
    window: int
    wanted: Callable[[task_pb2.Task], bool]
    random: Callable[[], float]
    resume_token: str = ""


class SessionProtocol:
    """Turns frames of the server into events, and what the session wants into frames.

    The owner gives each message that it reads to `receive`, writes what `flush` returns,
    and calls `flush` again at `next_wakeup`. It says `cut` when the stream has ended.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._credit = Credit(settings.window)
        self._work = Workload(settings.open.slots, self._credit, settings.wanted)
        self._dialogue = Dialogue(self._work, settings.request_prefix, settings.random)
        self._outgoing = Outgoing(self._dialogue.requests)
        self._state = State.IDLE
        self._sequence = 0
        self._cursor = ""
        self._token = settings.resume_token
        self._lease = 0.0
        self._heartbeat_at = 0.0
        self._closing = server_pb2.ClosingFrame()
        self._leaving = False
        self._stopped_by: FabricError | None = None

    @property
    def state(self) -> State:
        """Where the session is in its life."""
        return self._state

    @property
    def stopped_by(self) -> FabricError | None:
        """Why the session stopped; None while it lives or when it was closed."""
        return self._stopped_by

    @property
    def resume_token(self) -> str:
        """Token that keeps the claims when the swarm connects again; empty before the first."""
        return self._token

    @property
    def unanswered(self) -> int:
        """How many requests have no answer yet."""
        return len(self._dialogue.requests)

    @property
    def silence_limit(self) -> float:
        """Seconds without a message after which the stream counts as dead.

        Two heartbeats unanswered: a third of the lease is left to connect again and keep it.
        """
        return self._lease * 2 / 3 if self._state is State.OPEN else _OPEN_LIMIT

    def connect(self) -> OpenSessionRequest:
        """Begin a stream; return its first message."""
        self._state = State.OPENING
        self._sequence = 0
        self._closing = server_pb2.ClosingFrame()
        self._work.forget_offers()
        first = client_pb2.OpenFrame()
        first.CopyFrom(self._settings.open)
        first.resume_token = self._token
        first.resume_after = self._cursor
        first.credit = self._credit.opened()
        return OpenSessionRequest(frames=[ClientFrame(open=first)])

    def receive(self, message: OpenSessionResponse, now: float) -> list[Event]:
        """Handle one message of the server.

        Raises:
            BrokenStreamError: the stream cannot go on; end it and connect again.
        """
        frames = [frame for frame in message.frames if frame.sequence > self._sequence]
        # All or none: a claim that is noted here must also reach the owner.
        for place, frame in enumerate(frames):
            welcome = place == 0 and self._state is State.OPENING
            if (
                frame.sequence != self._sequence + place + 1
                or (frame.WhichOneof("frame") == "opened") != welcome
            ):
                raise BrokenStreamError(
                    f"frame {frame.sequence} came after {self._sequence} in {self._state.name}"
                )
        events: list[Event] = []
        for frame in frames:
            self._sequence = frame.sequence
            events += self._handle(frame, now)
        self._cursor = message.cursor or self._cursor
        return events

    def cut(self, error: FabricError | None) -> list[Event]:
        """Note that the stream ended; `state` tells whether to connect again.

        Args:
            error: how it ended; None for a quiet end.
        """
        self._outgoing.forget_told()
        action, why = self._closing.action, self._closing.reason
        passing = error is None or isinstance(error, SessionExpired | TryAgain)
        if isinstance(error, Refused) and not passing:
            return self._stop(error)
        if self._leaving:
            return self._stop(None)
        if action == server_pb2.CLOSING_ACTION_STOP:
            return self._stop(SessionStopped(why or "the server ended the session"))
        self._state = State.IDLE
        old = self._dialogue.requests.resend_all()
        events: list[Event] = [Superseded(request.request_id) for request in old]
        if action == server_pb2.CLOSING_ACTION_RESTART:
            events += self._work.restarted(why or "the server restarted the session")
        if action == server_pb2.CLOSING_ACTION_RESTART or isinstance(error, SessionExpired):
            self._token = ""
        return events

    def flush(self, now: float) -> OpenSessionRequest | None:
        """Return the next message to write, or None when nothing waits."""
        if self._state is not State.OPEN:
            return None
        if not self._leaving:
            self._dialogue.claim_offers()
        if now >= self._heartbeat_at:
            self._outgoing.tell(ClientFrame(heartbeat=client_pb2.HeartbeatFrame()))
            self._heartbeat_at = now + self._heartbeat_interval()
        if grant := self._credit.take_grant():
            self._outgoing.tell(ClientFrame(credit=client_pb2.CreditFrame(tasks=grant)))
        return self._outgoing.batch(now)

    def next_wakeup(self) -> float | None:
        """Return the time at which `flush` is due though nothing happens."""
        if self._state is not State.OPEN:
            return None
        due = self._dialogue.requests.next_due()
        return self._heartbeat_at if due is None else min(due, self._heartbeat_at)

    def ask(self, request: Request) -> list[Event]:
        """Queue a request and set its id; return what it replaces.

        The answer comes as Answered, Denied or Superseded with that id.

        Raises:
            StaleAttempt: it is about a claim that the session does not hold.
            InvalidField: it is too large to be sent.
        """
        return self._dialogue.ask(request)

    def abandon(self, request_id: str) -> None:
        """Note that nobody waits for an answer; a claim that is won will be given back."""
        self._dialogue.abandon(request_id)

    def give_back(self, task: task_pb2.Task) -> None:
        """Release a claim that nobody will work on."""
        self._dialogue.give_back(task)

    def consumed(self) -> None:
        """Note that the owner took a task that it had received."""
        self._credit.consumed()

    def close(self, reason: str) -> None:
        """Leave: what waits is written first, then `close`; without a stream stop at once."""
        if self._state is not State.OPEN:
            self._stop(None)
        elif not self._leaving:
            self._leaving = True
            frame = ClientFrame(close=client_pb2.CloseFrame(reason=reason))
            self._dialogue.ask(Request(frame, automatic=True))

    def _handle(self, frame: server_pb2.ServerFrame, now: float) -> list[Event]:
        match frame.WhichOneof("frame"):
            case "opened":
                return self._opened(frame.opened, now)
            case "task":
                return self._task(frame.task)
            case "reply":
                return self._dialogue.answered(frame.reply, now)
            case "revoked":
                return self._work.revoked(frame.revoked)
            case "heartbeat":
                return self._work.reconcile(frame.heartbeat.owned)
            case "closing":
                self._closing = frame.closing
        return self._news(frame)

    def _news(self, frame: server_pb2.ServerFrame) -> list[Event]:
        match frame.WhichOneof("frame"):
            case "broadcast":
                return [BroadcastReceived(frame.broadcast)]
            case "blocker_alert":
                return [BlockerAlerted(frame.blocker_alert.blocker)]
            case "halt":
                return [Halted(frame.halt), *self._dialogue.halt(frame.halt.breaker.detail)]
            case "help_wanted":
                return [HelpWanted(frame.help_wanted.help)]
        return []

    def _opened(self, opened: server_pb2.OpenedFrame, now: float) -> list[Event]:
        self._state = State.OPEN
        self._token = opened.resume_token
        self._lease = opened.lease.ToTimedelta().total_seconds()
        self._heartbeat_at = now + self._heartbeat_interval()
        lost = self._work.reconcile(opened.owned)
        return [Opened(opened.session_epoch, opened.resumed), *lost]

    def _task(self, frame: server_pb2.TaskFrame) -> list[Event]:
        task, claiming = frame.task, self._dialogue.claiming
        if frame.delivery == server_pb2.TASK_DELIVERY_OFFERED:
            self._work.offered(task, claiming)
            return []
        ack = client_pb2.AckFrame(task_id=task.task_id, attempt=task.attempt)
        self._outgoing.tell(ClientFrame(ack=ack))
        return self._work.delivered(task, claiming)

    def _stop(self, error: FabricError | None) -> list[Event]:
        self._state = State.STOPPED
        self._stopped_by = error
        return []

    def _heartbeat_interval(self) -> float:
        # At a third of the lease, and up to a fifth earlier so that sessions spread out.
        return self._lease / 3 * (1 - 0.2 * self._settings.random())
