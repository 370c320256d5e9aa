"""What a session works on and could work on: claims, offers and the credit they use."""

from collections.abc import Callable, Container, Iterable

from infrafabric.session.credit import Credit
from infrafabric.session.events import Event, TaskEnded, TaskLost, TaskReceived, TaskReturned
from infrafabric.session.holdings import Claim, Holdings, News
from infrafabric.v1 import session_server_pb2 as server_pb2
from infrafabric.v1 import task_pb2

_NOT_OWNED = "the fabric no longer counts the task as this session's"
_REPLACED = "the task was claimed anew under a higher attempt"


class Workload:
    """Decides what each delivery means.

    A task frame uses credit from its arrival until it means nothing any more: it was a
    repeat, the offer is refused or lost, or the owner has consumed the task.

    Args:
        slots: claims that may be active at the same time; 0 counts as 1.
        credit: where task frames are counted.
        wanted: tells whether to claim a task that is on offer.
    """

    def __init__(self, slots: int, credit: Credit, wanted: Callable[[task_pb2.Task], bool]) -> None:
        self.holdings = Holdings()
        self._slots = max(1, slots)
        self._credit = credit
        self._wanted = wanted
        self._offers: dict[str, task_pb2.Task] = {}
        self._trying: dict[str, task_pb2.Task] = {}
        # A claim was refused for want of a slot: wait until one may be free.
        self._full = False

    def offered(self, task: task_pb2.Task, claiming: Container[str]) -> None:
        """Note a task frame that brought an offer."""
        self._credit.received()
        if task.task_id in self._offers or task.task_id in claiming:
            self._credit.consumed()
        else:
            self._offers[task.task_id] = task

    def delivered(self, task: task_pb2.Task, claiming: Container[str]) -> list[Event]:
        """Note a task frame that brought a claim.

        While an own claim for the task has no answer, the answer is what brings it.
        """
        self._credit.received()
        if task.task_id in claiming:
            self._credit.consumed()
            return []
        return self._news(task)

    def next_offer(self, claims_pending: int) -> tuple[str, bool] | None:
        """Take the oldest offer if a slot is free; tell its task and whether to claim it."""
        free = self._slots - self.holdings.active - claims_pending
        if self._full or free <= 0 or not self._offers:
            return None
        task_id = next(iter(self._offers))
        task = self._offers.pop(task_id)
        wanted = self._wanted(task)
        if wanted:
            self._trying[task_id] = task
        else:
            self._credit.consumed()
        return task_id, wanted

    def offer_won(self, task: task_pb2.Task) -> list[Event]:
        """Note that the claim for an offer was won."""
        del self._trying[task.task_id]
        return self._news(task)

    def offer_lost(self, task_id: str, *, no_slot: bool) -> None:
        """Note that the claim for an offer failed; without a free slot it is tried again."""
        task = self._trying.pop(task_id)
        if no_slot:
            self._offers[task_id] = task
            self._full = True
        else:
            self._credit.consumed()

    def forget_offer(self, task_id: str) -> None:
        """Take an offer out, because a caller claims the task by itself."""
        if self._offers.pop(task_id, None) is not None:
            self._credit.consumed()

    def forget_offers(self) -> None:
        """Take all offers out: a new stream brings those that still stand."""
        for task_id in list(self._offers):
            self.forget_offer(task_id)
        self._full = False

    def claimed(self, task: task_pb2.Task) -> list[Event]:
        """Note a claim that a caller asked for and is told of by the answer."""
        return self._take(task)[1]

    def blocked(self, task_id: str, attempt: int, *, resolved: bool) -> list[Event]:
        """Note that a blocker was reported: its claim is parked.

        Unless it is resolved already: the report took effect before a cut, and was repeated.
        """
        if resolved:
            held = self.holdings.holds(task_id, attempt)
            return [TaskReturned(task_id, attempt)] if held else []
        self.holdings.park(task_id, attempt)
        self._full = False
        return []

    def ended(self, task_id: str, attempt: int) -> list[Event]:
        """Note that a claim ended by the session's own word."""
        self._full = False
        ended = self.holdings.end(task_id, attempt)
        return [TaskEnded(task_id, attempt)] if ended else []

    def revoked(self, frame: server_pb2.RevokedFrame) -> list[Event]:
        """Note that a claim was ended from outside."""
        if not self.holdings.end(frame.task_id, frame.attempt):
            return []
        self._full = False
        return [TaskLost(frame.task_id, frame.attempt, frame.reason, frame.detail)]

    def void(self, task_id: str, attempt: int, detail: str) -> list[Event]:
        """Note that a message was refused because its claim is void."""
        lost = self.holdings.end(task_id, attempt)
        return _losses([(task_id, attempt)] if lost else [], detail)

    def reconcile(self, owned: Iterable[server_pb2.Holding]) -> list[Event]:
        """Compare with the server's full list of claims."""
        self._full = False
        return _losses(self.holdings.reconcile(owned), _NOT_OWNED)

    def restarted(self, why: str) -> list[Event]:
        """Give up every claim whose end was not asked for."""
        return _losses(self.holdings.reconcile(()), why)

    def _news(self, task: task_pb2.Task) -> list[Event]:
        news, events = self._take(task)
        if news is News.NEW:
            return [*events, TaskReceived(task)]
        self._credit.consumed()
        return events

    def _take(self, task: task_pb2.Task) -> tuple[News, list[Event]]:
        news, replaced = self.holdings.take(task.task_id, task.attempt, parked=task.parked)
        events = _losses([replaced] if replaced else [], _REPLACED)
        if news is News.RETURNED:
            events.append(TaskReturned(task.task_id, task.attempt))
        return news, events


def _losses(claims: Iterable[Claim], detail: str) -> list[Event]:
    reason = server_pb2.REVOKE_REASON_UNSPECIFIED
    return [TaskLost(task_id, attempt, reason, detail) for task_id, attempt in claims]
