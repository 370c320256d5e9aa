"""A stream between the client's protocol and the model of the fabric, moved by hand."""

from collections import deque
from collections.abc import Callable

from infrafabric.errors import FabricError
from infrafabric.session.events import Answered, Denied, Event, TaskEnded, TaskLost, TaskReceived
from infrafabric.session.protocol import SessionProtocol, Settings, State
from infrafabric.session.requests import Request
from infrafabric.v1.coordinator_service_pb2 import OpenSessionRequest, OpenSessionResponse
from infrafabric.v1.session_client_pb2 import (
    ClaimFrame,
    ClientFrame,
    CompleteFrame,
    OpenFrame,
    StatusFrame,
)
from infrafabric.v1.session_server_pb2 import ReplyFrame
from infrafabric.v1.status_pb2 import Status
from infrafabric.v1.task_pb2 import Task
from tests.unit.client.fabric_model import FabricModel

Claim = tuple[str, int]


def settings(
    *,
    slots: int = 1,
    window: int = 64,
    wanted: Callable[[Task], bool] = lambda _: True,
    resume_token: str = "",
) -> Settings:
    """Return settings without jitter."""
    return Settings(
        open=OpenFrame(swarm_id="s1", slots=slots),
        request_prefix="r",
        window=window,
        wanted=wanted,
        random=lambda: 0.0,
        resume_token=resume_token,
    )


def completes(task_id: str, attempt: int = 1) -> ClientFrame:
    return ClientFrame(complete=CompleteFrame(task_id=task_id, attempt=attempt))


def kinds(wire: "Wire") -> list[str]:
    """Return the kinds of the frames that the fabric was told, in order."""
    return [frame.WhichOneof("frame") or "" for frame in wire.model.seen]


def claims(task_id: str) -> ClientFrame:
    return ClientFrame(claim=ClaimFrame(task_id=task_id))


def says(status: Status.ValueType) -> ClientFrame:
    return ClientFrame(status=StatusFrame(status=status))


class Wire:
    """Moves messages one at a time, and notes what the protocol tells its owner.

    Attributes:
        received: every claim that was handed over, in order.
        held: claims that are held now.
        lost: claims that were lost.
        answers: answers by request id.
        denied: refusals by request id.
        events: everything that was told, in order.
        moved: how many messages were moved.
    """

    def __init__(self, protocol: SessionProtocol | None = None) -> None:
        self.protocol = protocol or SessionProtocol(settings())
        self.model = FabricModel()
        self.now = 0.0
        self.received: list[Claim] = []
        self.held: set[Claim] = set()
        self.lost: list[Claim] = []
        self.answers: dict[str, ReplyFrame] = {}
        self.denied: dict[str, FabricError] = {}
        self.events: list[Event] = []
        self.moved = 0
        self._up: deque[OpenSessionRequest] = deque()
        self._down: deque[OpenSessionResponse] = deque()

    def connect(self) -> None:
        """Begin a stream."""
        self._up.append(self.protocol.connect())

    def cut(self, error: FabricError | None = None) -> None:
        """End the stream; what was on its way is lost."""
        self._up.clear()
        self._down.clear()
        self.model.cut()
        self._note(self.protocol.cut(error))

    def ask(self, frame: ClientFrame, subject: str = "") -> str:
        """Let the owner ask something; return the request id."""
        request = Request(frame, subject)
        self._note(self.protocol.ask(request))
        return request.request_id

    def consume(self) -> None:
        """Let the owner take a task that was handed over."""
        self.protocol.consumed()

    def move(self) -> bool:
        """Move one message, by the oldest rule of the post: what is nearest goes first."""
        if self._down:
            self._note(self.protocol.receive(self._down.popleft(), self.now))
        elif message := self.model.take():
            self._down.append(message)
        elif self._up:
            self.model.receive(self._up.popleft())
        elif request := self.protocol.flush(self.now):
            self._up.append(request)
        else:
            return False
        self.moved += 1
        return True

    def settle(self) -> None:
        """Move messages until nothing waits; connect first when there is no stream."""
        if self.protocol.state is State.IDLE:
            self.connect()
        while self.move():
            pass

    def pass_time(self, seconds: float) -> None:
        """Let time pass in steps that let each heartbeat be sent when it is due."""
        end = self.now + seconds
        while (due := self.protocol.next_wakeup()) is not None and due <= end:
            self.now = due
            self.settle()
        self.now = end

    def _note(self, events: list[Event]) -> None:
        self.events += events
        for event in events:
            match event:
                case TaskReceived(task=task):
                    self.received.append((task.task_id, task.attempt))
                    self.held.add((task.task_id, task.attempt))
                case TaskLost(task_id=task_id, attempt=attempt):
                    self.lost.append((task_id, attempt))
                    self.held.discard((task_id, attempt))
                case TaskEnded(task_id=task_id, attempt=attempt):
                    self.held.discard((task_id, attempt))
                case Answered(request_id=request_id, reply=reply):
                    assert request_id not in self.answers, "answered twice"
                    self.answers[request_id] = reply
                    if reply.claim.claimed:
                        self.held.add((reply.claim.task.task_id, reply.claim.task.attempt))
                case Denied(request_id=request_id, error=error):
                    self.denied[request_id] = error
