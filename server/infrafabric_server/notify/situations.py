"""What the fabric holds about each swarm, and what happens to it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from infrafabric_server.coordinator.models import BlockerAlert, ClaimEnd, EndKind, Task, TaskState
from infrafabric_server.fleet.fleet import Fleet
from infrafabric_server.fleet.models import AgentStatus, SessionRecord, SwarmProfile
from infrafabric_server.governor.help.models import HelpRequest
from infrafabric_server.notify.models import (
    Blocked,
    Claimed,
    Completed,
    Dropped,
    Helped,
    Helping,
    News,
    Situation,
    Unblocked,
)
from infrafabric_server.store.mirror import Change, View


@dataclass(frozen=True, slots=True)
class Happened:
    """Something that happened to a swarm; news is None when only its situation changed."""

    swarm_id: str
    revision: int = 0
    news: News | None = None


Listener = Callable[[Happened], None]
_Part = tuple[HelpRequest, str]
T = TypeVar("T")


class Situations:
    """Follows the views of tasks, requests for help, blockers, sessions and swarms."""

    def __init__(
        self,
        fleet: Fleet,
        tasks: View[Task],
        blockers: View[BlockerAlert],
        requests: View[HelpRequest],
    ) -> None:
        self._fleet = fleet
        self._tasks = tasks
        self._blockers = blockers
        self._requests = requests
        self._listener: Listener = _ignore
        self._held: dict[str, dict[str, bool]] = {}
        # The completed tasks that are not archived yet, by who completed them, with the revision.
        self._completed: dict[str, dict[str, int]] = {}
        self._open: dict[str, dict[str, BlockerAlert]] = {}
        # The tasks that swarms help with, by the requests for it.
        self._helping: dict[str, dict[str, str]] = {}
        # The revisions of the news of claims, help and blockers, unless that was before the start.
        self._claimed: dict[str, int] = {}
        self._joined: dict[tuple[str, str], int] = {}
        self._blocked: dict[str, int] = {}

    def start(self, listener: Listener) -> None:
        """Take in the views as they are; `listener` hears of every change from now on.

        It is called after all changes of a revision are in the views.
        """
        self._listener = listener
        claims = [task for _, task in self._tasks.items() if task.claim is not None]
        for task in sorted(claims, key=_claim_time):
            self._hold(None, task)
        for task_entry in self._tasks.entries():
            self._note_completion(None, task_entry.value, task_entry.mod_revision)
        for entry in self._blockers.entries():
            self._note_blocker(None, entry.value)
        for help_entry in self._requests.entries():
            self._note_help(None, help_entry.value)
        self._requests.subscribe(self._help_changed)
        self._tasks.subscribe(self._task_changed)
        self._blockers.subscribe(self._blocker_changed)
        self._fleet.sessions.subscribe(self._fleet_changed)
        self._fleet.swarms.subscribe(self._fleet_changed)

    def of(self, swarm_id: str) -> Situation:
        """Return the situation of a swarm."""
        held = self._held.get(swarm_id, {})
        session = self._fleet.sessions.get(swarm_id)
        return Situation(
            session=None if session is None else session.role,
            working=tuple(task_id for task_id, parked in held.items() if not parked),
            parked=tuple(task_id for task_id, parked in held.items() if parked),
            helping=tuple(self._helping.get(swarm_id, {}).values()),
            blockers=self._open.get(swarm_id, {}),
        )

    def missed(self, swarm_id: str) -> list[Happened]:
        """Return what happened to a swarm that its status does not take account of.

        A server that died between a change and its effect on a status leaves such a gap, and so
        does a replica that has not come to it. What was seen here is known by its revision; what
        was there before the start by its time, too, as its key may have changed since.
        """
        status = self._status(swarm_id)
        found = []
        for task_id, revision in self._completed.get(swarm_id, {}).items():
            task = self._tasks.get(task_id)
            if task is not None and not _counted(status, task_id, revision):
                news = Completed(task_id, task.cost_micros, revision)
                found.append(Happened(swarm_id, revision, news))
        if status is None:
            return found
        for task_id in self._held.get(swarm_id, {}):
            entry = self._tasks.entry(task_id)
            if entry is not None and entry.value.claim is not None:
                seen, time = self._claimed.get(task_id), entry.value.claim.claim_time
                if _is_news(status, seen, entry.mod_revision, time):
                    revision = seen or entry.mod_revision
                    found.append(Happened(swarm_id, revision, Claimed(task_id)))
        found += self._missed_help(swarm_id, status)
        for alert in self._open.get(swarm_id, {}).values():
            known = self._blockers.entry(alert.blocker_id)
            if known is not None:
                seen, time = self._blocked.get(alert.blocker_id), alert.create_time
                if _is_news(status, seen, known.mod_revision, time):
                    revision = seen or known.mod_revision
                    found.append(Happened(swarm_id, revision, Blocked(alert)))
        return sorted(found, key=lambda each: each.revision)

    def _missed_help(self, swarm_id: str, status: AgentStatus) -> Iterator[Happened]:
        for help_id in self._helping.get(swarm_id, {}):
            entry = self._requests.entry(help_id)
            helpers = () if entry is None else entry.value.helpers
            times = [each.time for each in helpers if each.swarm_id == swarm_id]
            seen = self._joined.get((help_id, swarm_id))
            if entry and times and _is_news(status, seen, entry.mod_revision, times[0]):
                revision = seen or entry.mod_revision
                yield Happened(swarm_id, revision, Helping(entry.value.task_id))

    def _status(self, swarm_id: str) -> AgentStatus | None:
        return self._fleet.statuses.get(swarm_id)

    def _fleet_changed(self, change: Change[SessionRecord] | Change[SwarmProfile]) -> None:
        self._listener(Happened(change.id, change.revision))

    def _task_changed(self, change: Change[Task]) -> None:
        old, new = change.old, change.new
        self._hold(old, new)
        before, after = _holder(old), _holder(new)
        completed = _completed_by(new)
        entry = self._tasks.entry(change.id)
        revision = change.revision if entry is None else entry.mod_revision
        self._note_completion(old, new, revision)
        if new is not None and completed and not _completed_by(old):
            news = Completed(new.task_id, new.cost_micros, revision)
            self._listener(Happened(completed, revision, news))
        elif before and before != after:
            own_word = new is not None and _ended_by_holder(old, new)
            self._listener(Happened(before, change.revision, Dropped(change.id, own_word)))
        if after and after != before:
            self._claimed[change.id] = change.revision
            self._listener(Happened(after, change.revision, Claimed(change.id)))
        elif not after:
            self._claimed.pop(change.id, None)

    def _blocker_changed(self, change: Change[BlockerAlert]) -> None:
        old, new = change.old, change.new
        self._note_blocker(old, new)
        was_open = old is not None and old.open
        if new is not None and new.open:
            # Being escalated is nothing new to the swarm itself.
            if not was_open or old is None or old.escalations == new.escalations:
                self._blocked[change.id] = change.revision
                self._listener(Happened(new.swarm_id, change.revision, Blocked(new)))
        elif old is not None and was_open:
            self._blocked.pop(change.id, None)
            self._listener(Happened(old.swarm_id, change.revision, Unblocked(old.task_id)))

    def _help_changed(self, change: Change[HelpRequest]) -> None:
        joined, gone = self._note_help(change.old, change.new)
        for request, swarm_id in gone:
            self._joined.pop((change.id, swarm_id), None)
            self._listener(Happened(swarm_id, change.revision, Helped(request.task_id)))
        for request, swarm_id in joined:
            self._joined[change.id, swarm_id] = change.revision
            self._listener(Happened(swarm_id, change.revision, Helping(request.task_id)))

    def _hold(self, old: Task | None, new: Task | None) -> None:
        if old is not None and old.claim is not None and _holder(new) != old.claim.swarm_id:
            _remove(self._held, old.claim.swarm_id, old.task_id)
        if new is not None and new.claim is not None:
            held = self._held.setdefault(new.claim.swarm_id, {})
            held[new.task_id] = new.claim.parked

    def _note_completion(self, old: Task | None, new: Task | None, revision: int) -> None:
        before, after = _completed_by(old), _completed_by(new)
        if new is not None and after and not before:
            self._completed.setdefault(after, {})[new.task_id] = revision
        elif old is not None and before and new is None:
            _remove(self._completed, before, old.task_id)

    def _note_help(
        self, old: HelpRequest | None, new: HelpRequest | None
    ) -> tuple[list[_Part], list[_Part]]:
        """Note who helps now; return who does and did not, and who did and does not."""
        before, after = _helpers(old), _helpers(new)
        joined = [(request, each) for each, request in after.items() if each not in before]
        gone = [(request, each) for each, request in before.items() if each not in after]
        for request, swarm_id in gone:
            _remove(self._helping, swarm_id, request.help_id)
        for request, swarm_id in joined:
            self._helping.setdefault(swarm_id, {})[request.help_id] = request.task_id
        return joined, gone

    def _note_blocker(self, old: BlockerAlert | None, new: BlockerAlert | None) -> None:
        if new is not None and new.open:
            self._open.setdefault(new.swarm_id, {})[new.task_id] = new
        elif old is not None:
            _remove(self._open, old.swarm_id, old.task_id)


def _ignore(_happened: Happened) -> None:
    """Do nothing: nobody listens yet."""


def _helpers(request: HelpRequest | None) -> dict[str, HelpRequest]:
    return {} if request is None else dict.fromkeys(request.helping_ids, request)


def _claim_time(task: Task) -> float:
    return 0.0 if task.claim is None else task.claim.claim_time.timestamp()


def _holder(task: Task | None) -> str:
    return "" if task is None or task.claim is None else task.claim.swarm_id


def _completed_by(task: Task | None) -> str:
    if task is None or task.state is not TaskState.COMPLETED or task.last_end is None:
        return ""
    return task.last_end.swarm_id


def _counted(status: AgentStatus | None, task_id: str, revision: int) -> bool:
    """Tell whether the totals of a status include a completion."""
    if status is None:
        return False
    return revision <= status.counted_revision or task_id in status.counted


def _is_news(status: AgentStatus, seen: int | None, changed: int, time: datetime) -> bool:
    """Tell whether a status takes no account of what was seen here at a revision.

    Not `seen`, it began at `time` and before its key was last `changed`.
    """
    if seen is not None:
        return seen > status.counted_revision
    return changed > status.counted_revision and time >= status.status_time


def _ended_by_holder(old: Task | None, new: Task) -> bool:
    """Tell whether the claim that `old` has was ended by its holder's own word."""
    if old is None or old.claim is None:
        return False
    kinds = (EndKind.RELEASED, EndKind.FAILED)
    claim = old.claim
    return new.last_end in [
        ClaimEnd(swarm_id=claim.swarm_id, attempt=claim.attempt, kind=kind) for kind in kinds
    ]


def _remove(index: dict[str, dict[str, T]], swarm_id: str, task_id: str) -> None:
    held = index.get(swarm_id)
    if held is not None:
        held.pop(task_id, None)
        if not held:
            del index[swarm_id]
