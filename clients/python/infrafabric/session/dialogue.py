"""Questions to the server and what its answers mean."""

from collections.abc import Callable

from infrafabric import backoff
from infrafabric.errors import ClaimVoid, Refused, StaleAttempt, TryAgain
from infrafabric.refusals import from_status
from infrafabric.session.events import Answered, Denied, Event, Superseded, TaskLost
from infrafabric.session.outgoing import check_size
from infrafabric.session.requests import Request, Requests
from infrafabric.session.workload import Workload
from infrafabric.v1.session_client_pb2 import (
    ClaimFrame,
    ClientFrame,
    DeclineFrame,
    ReleaseFrame,
)
from infrafabric.v1.session_server_pb2 import REVOKE_REASON_HALTED, ReplyFrame
from infrafabric.v1.task_pb2 import CLAIM_REFUSAL_NO_SLOT, Task

_MAX_REASON = 4_096


class Dialogue:
    """Gives each request its id, and each answer its effect on the workload.

    Args:
        work: claims and offers.
        prefix: begins every request id; unique to this process.
        random: returns a number in [0, 1).
    """

    def __init__(self, work: Workload, prefix: str, random: Callable[[], float]) -> None:
        self.requests = Requests()
        self._work = work
        self._prefix = prefix
        self._random = random
        self._asked = 0
        self._claiming: dict[str, Request] = {}

    @property
    def claiming(self) -> frozenset[str]:
        """Tasks for which a claim is not answered yet."""
        return frozenset(self._claiming)

    def ask(self, request: Request) -> list[Event]:
        """Queue a request under a new id; return what it replaces.

        Raises:
            StaleAttempt: it is about a claim that the session does not hold.
            InvalidField: it is too large to be sent.
        """
        check_size(request.frame)
        holdings = self._work.holdings
        task_id, attempt = request.task_id, request.attempt
        if attempt and not holdings.holds(task_id, attempt):
            raise StaleAttempt(f"attempt {attempt} of {task_id} is not held by this session")
        if request.ends_claim:
            holdings.begin_end(task_id, attempt)
        if request.kind == "claim":
            self._work.forget_offer(task_id)
            self._claiming[task_id] = request
        self._asked += 1
        request.frame.request_id = f"{self._prefix}-{self._asked}"
        replaced = self.requests.add(request)
        return [Superseded(replaced.request_id)] if replaced else []

    def abandon(self, request_id: str) -> None:
        """Note that nobody waits for an answer; a claim that is won will be given back."""
        request = self.requests.get(request_id)
        if request is not None:
            request.abandoned = True

    def give_back(self, task: Task) -> None:
        """Release a claim that nobody will work on, if it is still held."""
        if self._work.holdings.holds(task.task_id, task.attempt):
            release = ReleaseFrame(
                task_id=task.task_id,
                attempt=task.attempt,
                reason="the caller that claimed the task has gone",
            )
            self.ask(Request(ClientFrame(release=release), automatic=True))

    def halt(self, detail: str) -> list[Event]:
        """Give every claim back whose end was not asked for; for their owner they are lost."""
        events: list[Event] = []
        for task_id, attempt in self._work.holdings.lasting():
            why = f"halted: {detail}"
            release = ReleaseFrame(task_id=task_id, attempt=attempt, reason=why[:_MAX_REASON])
            self.ask(Request(ClientFrame(release=release), automatic=True))
            events.append(TaskLost(task_id, attempt, REVOKE_REASON_HALTED, why))
        return events

    def claim_offers(self) -> None:
        """Ask for the offers that are wanted, as many as there are free slots."""
        while offer := self._work.next_offer(len(self._claiming)):
            task_id, wanted = offer
            if wanted:
                frame = ClientFrame(claim=ClaimFrame(task_id=task_id))
            else:
                frame = ClientFrame(decline=DeclineFrame(task_id=task_id, reason="not wanted"))
            self.ask(Request(frame, automatic=True))

    def answered(self, reply: ReplyFrame, now: float) -> list[Event]:
        """Handle an answer; one that came before, on an earlier stream, is ignored."""
        request = self.requests.get(reply.request_id)
        if request is None:
            return []
        if reply.HasField("error"):
            return self._refused(request, from_status(reply.error), now)
        self._forget(request)
        if request.kind == "claim":
            return self._claim_answered(request, reply)
        events: list[Event] = []
        if request.ends_claim:
            events = self._work.ended(request.task_id, request.attempt)
        elif request.attempt and request.kind == "blocker":
            resolved = reply.blocker.HasField("resolve_time")
            events = self._work.blocked(request.task_id, request.attempt, resolved=resolved)
        return events + self._tell(request, Answered(request.request_id, reply))

    def _refused(self, request: Request, error: Refused, now: float) -> list[Event]:
        if isinstance(error, TryAgain) and not (request.abandoned and request.kind == "claim"):
            pause = backoff.wait(request.tries, self._random, error.retry_after)
            self.requests.put_off(request, now + pause)
            return []
        self._forget(request)
        events: list[Event] = []
        if request.kind == "claim" and request.automatic:
            self._work.offer_lost(request.task_id, no_slot=False)
        elif request.attempt and isinstance(error, ClaimVoid):
            events = self._work.void(request.task_id, request.attempt, error.message)
        elif request.ends_claim:
            self._work.holdings.keep(request.task_id, request.attempt)
        return events + self._tell(request, Denied(request.request_id, error))

    def _claim_answered(self, request: Request, reply: ReplyFrame) -> list[Event]:
        claim = reply.claim
        if request.automatic:
            if claim.claimed:
                return self._work.offer_won(claim.task)
            no_slot = claim.refusal == CLAIM_REFUSAL_NO_SLOT
            self._work.offer_lost(request.task_id, no_slot=no_slot)
            return []
        events = self._work.claimed(claim.task) if claim.claimed else []
        if claim.claimed and request.abandoned:
            self.give_back(claim.task)
        return events + self._tell(request, Answered(request.request_id, reply))

    def _forget(self, request: Request) -> None:
        self.requests.drop(request.request_id)
        if self._claiming.get(request.task_id) is request:
            del self._claiming[request.task_id]

    @staticmethod
    def _tell(request: Request, event: Event) -> list[Event]:
        return [] if request.automatic or request.abandoned else [event]
