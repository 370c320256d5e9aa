"""The server's side of a session as a small model: what the contract promises, in memory.

It knows one swarm. Tests of the client's protocol drive it by hand, and tests of the
client's I/O put it behind a real gRPC server.
"""

from dataclasses import dataclass, field
from datetime import timedelta

from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

from infrafabric.v1 import error_pb2, task_pb2
from infrafabric.v1 import session_client_pb2 as client_pb2
from infrafabric.v1 import session_server_pb2 as server_pb2
from infrafabric.v1.blocker_pb2 import Blocker
from infrafabric.v1.breaker_pb2 import CircuitBreaker
from infrafabric.v1.coordinator_service_pb2 import OpenSessionRequest, OpenSessionResponse
from infrafabric.v1.governor_breaker_pb2 import HaltFrame
from infrafabric.v1.help_pb2 import HelpRequest
from infrafabric.v1.session_server_pb2 import REVOKE_REASON_CANCELLED, ReplyFrame, ServerFrame
from infrafabric.v1.status_pb2 import BroadcastMessage
from infrafabric.v1.task_pb2 import (
    TASK_STATE_AVAILABLE,
    TASK_STATE_CLAIMED,
    TASK_STATE_COMPLETED,
    TASK_STATE_FAILED,
    Task,
)

ENDED = (TASK_STATE_COMPLETED, TASK_STATE_FAILED)


def status_of(
    reason: error_pb2.ErrorReason.ValueType, text: str = "refused", retry_after: float | None = None
) -> status_pb2.Status:
    """Return a rich status as the fabric makes it."""
    name = error_pb2.ErrorReason.Name(reason)
    details = [any_pb2.Any()]
    details[0].Pack(error_details_pb2.ErrorInfo(reason=name, domain="infrafabric"))
    if retry_after is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromTimedelta(timedelta(seconds=retry_after))
        details.append(any_pb2.Any())
        details[1].Pack(retry)
    return status_pb2.Status(code=9, message=text, details=details)


@dataclass
class FabricModel:
    """One swarm's claims, offers and stream.

    Attributes:
        lease: seconds, as the welcome says.
        slots: tasks that the swarm may work on at the same time.
        tasks: every task of the fabric.
        offers: tasks on offer to the swarm.
        completions: how often each task was completed.
        statuses: every status that took effect.
        costs: every cost that was charged and is of no claim, by request id.
        blockers: the last report about each task: its request id, and what it came to.
        refuse_next: reasons with which the next requests are refused, in order.
    """

    lease: float = 15.0
    slots: int = 64
    tasks: dict[str, Task] = field(default_factory=dict)
    offers: set[str] = field(default_factory=set)
    completions: dict[str, int] = field(default_factory=dict)
    statuses: list[client_pb2.StatusFrame] = field(default_factory=list)
    milestones: list[client_pb2.ProgressFrame] = field(default_factory=list)
    costs: dict[str, client_pb2.CostFrame] = field(default_factory=dict)
    created: dict[str, list[str]] = field(default_factory=dict)
    blockers: dict[str, tuple[str, Blocker]] = field(default_factory=dict)
    acked: set[tuple[str, int]] = field(default_factory=set)
    refuse_next: list[status_pb2.Status] = field(default_factory=list)
    seen: list[client_pb2.ClientFrame] = field(default_factory=list)
    opened: list[client_pb2.OpenFrame] = field(default_factory=list)
    broadcasts: list[str] = field(default_factory=list)
    epoch: int = 0
    token: str = ""
    credit: int = 0
    closed: bool = False
    open: bool = False
    _sequence: int = 0
    _out: list[ServerFrame] = field(default_factory=list)
    _held_back: list[server_pb2.TaskFrame] = field(default_factory=list)

    # What tests do to the fabric.

    @property
    def free_slots(self) -> int:
        """How many tasks more the swarm may work on."""
        return self.slots - sum(not holding.parked for holding in self._owned())

    def assign(self, task_id: str) -> None:
        """Claim a task for the swarm and push it."""
        task = self.tasks.setdefault(task_id, Task(task_id=task_id))
        task.state = TASK_STATE_CLAIMED
        task.attempt += 1
        task.parked = False
        self._push(task, server_pb2.TASK_DELIVERY_ASSIGNED)

    def offer(self, task_id: str) -> None:
        """Offer a task to the swarm."""
        task = self.tasks.setdefault(task_id, Task(task_id=task_id, state=TASK_STATE_AVAILABLE))
        self.offers.add(task_id)
        self._push(task, server_pb2.TASK_DELIVERY_OFFERED)

    def take_back(self, task_id: str, *, tell: bool) -> None:
        """End the claim on a task from outside, with or without a word."""
        task = self.tasks[task_id]
        task.state = TASK_STATE_AVAILABLE
        if tell:
            frame = server_pb2.RevokedFrame(
                task_id=task_id, attempt=task.attempt, reason=REVOKE_REASON_CANCELLED
            )
            self.say(ServerFrame(revoked=frame))

    def resolve(self, task_id: str) -> None:
        """Resolve the blocker of a parked task."""
        self.tasks[task_id].parked = False
        if task_id in self.blockers:
            self.blockers[task_id][1].resolve_time.GetCurrentTime()
        self._push(self.tasks[task_id], server_pb2.TASK_DELIVERY_RETURNED)

    def broadcast(self, text: str) -> None:
        """Send a text; a stream that resumes gets what it missed."""
        self.broadcasts.append(text)
        self.say(ServerFrame(broadcast=BroadcastMessage(message=text)))

    def halt(self, detail: str) -> None:
        """Have the session stop all its work."""
        breaker = CircuitBreaker(detail=detail)
        self.say(ServerFrame(halt=HaltFrame(breaker=breaker)))

    def want_help(self, request: HelpRequest) -> None:
        """Tell of a request for help."""
        self.say(ServerFrame(help_wanted=server_pb2.HelpWantedFrame(help=request)))

    def alert(self, blocker_id: str) -> None:
        """Bring an incident before the orchestrator."""
        alert = server_pb2.BlockerAlert(blocker=Blocker(blocker_id=blocker_id))
        self.say(ServerFrame(blocker_alert=alert))

    def closing(self, action: server_pb2.ClosingAction.ValueType, reason: str = "") -> None:
        """Announce the end of the stream."""
        self.say(ServerFrame(closing=server_pb2.ClosingFrame(action=action, reason=reason)))

    def cut(self) -> None:
        """Lose the stream and everything that was on its way."""
        self.open = False
        self._out.clear()
        self._held_back.clear()

    # The stream.

    def receive(self, message: OpenSessionRequest) -> None:
        """Handle one message of the client."""
        for frame in message.frames:
            self.seen.append(frame)
            if frame.WhichOneof("frame") == "open":
                self._open(frame.open)
            else:
                self._handle(frame)

    def take(self) -> OpenSessionResponse | None:
        """Return the next message to the client."""
        if not self._out:
            return None
        frames, self._out = self._out, []
        return OpenSessionResponse(frames=frames, cursor=str(len(self.broadcasts)))

    def _open(self, opening: client_pb2.OpenFrame) -> None:
        self.opened.append(opening)
        self.open, self._sequence = True, 0
        resumed = bool(opening.resume_token) and opening.resume_token == self.token
        self.epoch += 1
        if not resumed:
            self.token = f"token-{self.epoch}"
        self.credit = opening.credit
        owned = [task for task in self.tasks.values() if task.state == TASK_STATE_CLAIMED]
        for task in owned:
            task.attempt += not resumed
        opened = server_pb2.OpenedFrame(
            session_epoch=self.epoch,
            resume_token=self.token,
            resumed=resumed,
            owned=self._owned(),
            offered_task_ids=sorted(self.offers),
        )
        opened.lease.FromTimedelta(timedelta(seconds=self.lease))
        self.say(ServerFrame(opened=opened))
        for task in owned:
            self._push(task, server_pb2.TASK_DELIVERY_RETURNED)
        for task_id in sorted(self.offers):
            self._push(self.tasks[task_id], server_pb2.TASK_DELIVERY_OFFERED)
        for text in self.broadcasts[int(opening.resume_after or 0) :]:
            self.say(ServerFrame(broadcast=BroadcastMessage(message=text)))

    def _handle(self, frame: client_pb2.ClientFrame) -> None:
        kind = frame.WhichOneof("frame")
        if kind == "heartbeat":
            self.say(ServerFrame(heartbeat=server_pb2.HeartbeatReply(owned=self._owned())))
        elif kind == "credit":
            self.credit += frame.credit.tasks
            self._release_held_back()
        elif kind == "ack":
            self.acked.add((frame.ack.task_id, frame.ack.attempt))
        elif self.refuse_next:
            self._reply(frame, ReplyFrame(error=self.refuse_next.pop(0)))
        else:
            self._decide(frame, kind or "")

    def _decide(self, frame: client_pb2.ClientFrame, kind: str) -> None:
        match kind:
            case "status":
                self.statuses.append(frame.status)
                self._reply(frame, ReplyFrame(status=server_pb2.StatusReply(queue_position=1)))
            case "create":
                ids = self.created.setdefault(
                    frame.request_id, [task.task_id for task in frame.create.tasks]
                )
                self._reply(frame, ReplyFrame(create=server_pb2.CreateReply(task_ids=ids)))
            case "claim":
                self._claim(frame)
            case "cost" if not frame.cost.attempt:
                self.costs.setdefault(frame.request_id, frame.cost)
                left = server_pb2.CostReply(reservation_left_micros=7)
                self._reply(frame, ReplyFrame(cost=left))
            case "close":
                self.closed = True
                self._reply(frame, ReplyFrame(accepted=server_pb2.AcceptedReply()))
            case "decline":
                self.offers.discard(frame.decline.task_id)
                task = server_pb2.TaskReply(task_id=frame.decline.task_id)
                self._reply(frame, ReplyFrame(task=task))
            case _:
                self._about_claim(frame, kind)

    def _claim(self, frame: client_pb2.ClientFrame) -> None:
        task = self.tasks.get(frame.claim.task_id)
        if task is None:
            refusal = task_pb2.CLAIM_REFUSAL_TASK_NOT_FOUND
            self._reply(frame, ReplyFrame(claim=server_pb2.ClaimReply(refusal=refusal)))
            return
        if task.state == TASK_STATE_AVAILABLE:
            if self.free_slots <= 0:
                refusal = task_pb2.CLAIM_REFUSAL_NO_SLOT
                self._reply(frame, ReplyFrame(claim=server_pb2.ClaimReply(refusal=refusal)))
                return
            task.state = TASK_STATE_CLAIMED
            task.attempt += 1
            self.offers.discard(task.task_id)
        if task.state == TASK_STATE_CLAIMED:
            self._reply(frame, ReplyFrame(claim=server_pb2.ClaimReply(claimed=True, task=task)))
            return
        refusal = task_pb2.CLAIM_REFUSAL_NOT_AVAILABLE
        self._reply(frame, ReplyFrame(claim=server_pb2.ClaimReply(refusal=refusal)))

    def _blocked(self, frame: client_pb2.ClientFrame, task: Task) -> None:
        request_id, blocker = self.blockers.get(task.task_id, ("", Blocker()))
        if request_id != frame.request_id:
            task.parked = True
            blocker = Blocker(blocker_id="b", task_id=task.task_id)
            self.blockers[task.task_id] = (frame.request_id, blocker)
        self._reply(frame, ReplyFrame(blocker=blocker))

    def _about_claim(self, frame: client_pb2.ClientFrame, kind: str) -> None:
        body = getattr(frame, kind)
        task = self.tasks[body.task_id]
        repeated = kind == "complete" and task.state == TASK_STATE_COMPLETED
        if task.attempt != body.attempt or (task.state != TASK_STATE_CLAIMED and not repeated):
            stale = error_pb2.ERROR_REASON_STALE_ATTEMPT
            self._reply(frame, ReplyFrame(error=status_of(stale, "the attempt is void")))
            return
        if kind == "blocker":
            self._blocked(frame, task)
            return
        if kind == "complete" and not repeated:
            task.state = TASK_STATE_COMPLETED
            self.completions[task.task_id] = self.completions.get(task.task_id, 0) + 1
        elif kind == "fail":
            task.state = TASK_STATE_FAILED
        elif kind == "release":
            task.state = TASK_STATE_AVAILABLE
        elif kind == "progress":
            self.milestones.append(body)
        reply = server_pb2.TaskReply(task_id=task.task_id, state=task.state, attempt=task.attempt)
        self._reply(frame, ReplyFrame(task=reply))

    def _owned(self) -> list[server_pb2.Holding]:
        return [
            server_pb2.Holding(task_id=task.task_id, attempt=task.attempt, parked=task.parked)
            for task in self.tasks.values()
            if task.state == TASK_STATE_CLAIMED
        ]

    def _push(self, task: Task, delivery: server_pb2.TaskDelivery.ValueType) -> None:
        if not self.open:
            return
        copy = Task()
        copy.CopyFrom(task)
        self._held_back.append(server_pb2.TaskFrame(task=copy, delivery=delivery))
        self._release_held_back()

    def _release_held_back(self) -> None:
        while self.open and self.credit > 0 and self._held_back:
            self.credit -= 1
            self.say(ServerFrame(task=self._held_back.pop(0)))

    def _reply(self, frame: client_pb2.ClientFrame, reply: ReplyFrame) -> None:
        if frame.request_id or reply.HasField("error"):
            reply.request_id = frame.request_id
            self.say(ServerFrame(reply=reply))

    def say(self, frame: ServerFrame) -> None:
        """Number a frame and send it, if there is a stream."""
        if self.open:
            self._sequence += 1
            frame.sequence = self._sequence
            self._out.append(frame)
