"""What follows from a change in the store, listed in one place.

Everything here is derived and idempotent: it is computed again from the store at each
start, so that a crash between a change and its consequence loses nothing.
"""

import asyncio
from datetime import timedelta
from functools import partial

from infrafabric_server.coordinator import rules
from infrafabric_server.coordinator.attendance import Attendance
from infrafabric_server.coordinator.background import Background, Work
from infrafabric_server.coordinator.capacity import Capacity
from infrafabric_server.coordinator.dependencies import Dependencies, Verdict
from infrafabric_server.coordinator.dispatcher import Dispatcher, age
from infrafabric_server.coordinator.endings import Endings
from infrafabric_server.coordinator.frames import Alert
from infrafabric_server.coordinator.link import Links
from infrafabric_server.coordinator.models import (
    BlockerAlert,
    EndKind,
    LossKind,
    Task,
    TaskState,
)
from infrafabric_server.coordinator.offers import Offers
from infrafabric_server.coordinator.records import Records
from infrafabric_server.coordinator.revocations import Revocations
from infrafabric_server.coordinator.scheduler import Scheduler
from infrafabric_server.coordinator.shortages import ANYONE, More
from infrafabric_server.coordinator.timers import Timers
from infrafabric_server.fleet.leadership import Leadership
from infrafabric_server.fleet.models import (
    AgentStatus,
    SessionRecord,
    SessionRole,
    SwarmProfile,
)
from infrafabric_server.store.mirror import Change, Entry

# Tasks that a new leader looks at in one turn of the event loop: some milliseconds.
_TURN = 256

# How long an ended task or a resolved blocker stays in the views.
KEEP_ENDED = timedelta(hours=1)


class Reactions:
    """Listens to the views and sets off what follows."""

    def __init__(
        self,
        records: Records,
        capacity: Capacity,
        scheduler: Scheduler,
        dispatcher: Dispatcher,
        offers: Offers,
        endings: Endings,
        revocations: Revocations,
        links: Links,
        timers: Timers,
        background: Background,
        leadership: Leadership,
        attendance: Attendance,
    ) -> None:
        self._leadership = leadership
        self._attendance = attendance
        self._records = records
        self._capacity = capacity
        self._scheduler = scheduler
        self._dispatcher = dispatcher
        self._offers = offers
        self._endings = endings
        self._revocations = revocations
        self._links = links
        self._timers = timers
        self._dependencies = Dependencies(records.tasks)
        self._background = background

    def connect(self) -> None:
        """Listen to the views; call once, before the mirror starts."""
        self._records.tasks.subscribe(self._task_changed)
        self._records.blockers.subscribe(self._blocker_changed)
        self._records.fleet.swarms.subscribe(self._profile_changed)
        self._records.fleet.sessions.subscribe(self._session_changed)
        self._records.fleet.statuses.subscribe(self._status_changed)
        self._attendance.follow(self.refresh, self._replica_changed)

    def begin(self) -> None:
        """Set off what a crash may have left undone; call once, after the mirror started."""
        self._leadership.follow(self._leads)
        self._leads(self._leadership.leading)
        self._dispatcher.wake()

    def _leads(self, leading: bool) -> None:
        """Set off what nobody, or another leader, has begun or left undone."""
        if leading:
            self._background.spawn("take_lead", self._take_lead)

    async def _take_lead(self) -> None:
        clock = self._records.clock
        for place, entry in enumerate(list(self._records.tasks.entries())):
            if place % _TURN == _TURN - 1:
                await asyncio.sleep(0)
            task = self._records.tasks.get(entry.id)
            if task is not None:
                self._set_timer(entry.id, task)
                if task.available_time is not None and rules.on_offer(task, clock.now()):
                    self._due(task, rules.Due.AVAILABLE)
                self._examine(task)
        for alert in list(self._records.blockers.entries()):
            self._about_nobody(alert.value)
            self._set_forgetting(alert.id, alert.value)

    def _follows(self, name: str, work: Work) -> None:
        """Set off a consequence, unless another replica does."""
        if self._leadership.leading:
            self._background.spawn(name, work)

    def refresh(self, swarm_id: str) -> None:
        """Look again at what a swarm may be given: its session, credit or slots changed."""
        link = self._links.get(swarm_id)
        self._scheduler.swarm_changed(swarm_id)
        self._dispatcher.wake()
        if link is not None and link.takes_work:
            self._offers.show_all(link)

    def admission_changed(self, swarm_id: str, more: More) -> None:
        """Look again at what a swarm may be given, or anyone: there is more money, or less."""
        if swarm_id == ANYONE:
            self._dispatcher.wake()
            return
        if more is More.ENOUGH:
            self._scheduler.paid(swarm_id)
        elif more is More.SOME:
            self._scheduler.judged_anew(swarm_id)
        self.refresh(swarm_id)

    def _task_changed(self, change: Change[Task]) -> None:
        old, new = change.old, change.new
        touched = self._capacity.task_changed(old, new)
        self._dependencies.task_changed(old, new)
        self._revocations.task_changed(old, new)
        self._dispatcher.task_changed(old, new)
        task_id = change.id
        entry = self._records.tasks.entry(task_id)
        born = age(entry.create_revision, entry.value) if entry is not None else (0, 0)
        self._offers.task_changed(old, new, born)
        self._set_timer(task_id, new)
        self._note_refusal(old, new)
        if old is not None:
            self._scheduler.reconsider(task_id)
        if new is not None and self._waits_for_assignment(new):
            self._scheduler.task_waits(new, born)
            if not self._leadership.leading:
                self._dispatcher.leave(task_id)
        elif new is None or new.state.ended:
            self._scheduler.task_ended(task_id)
        else:
            self._scheduler.task_left(task_id)
        if new is not None:
            self._examine(new)
            if new.state is TaskState.COMPLETED and new.last_end is not None:
                self._scheduler.forgive(new.last_end.swarm_id)
        for swarm_id in touched:
            if not _holds(new, swarm_id):
                # What a rule says of a swarm's account may be another thing now.
                self._scheduler.judged_anew(swarm_id)
            self.refresh(swarm_id)
        self._dispatcher.wake()

    def _note_refusal(self, old: Task | None, new: Task | None) -> None:
        """Note, on each replica, that a swarm gave a task back that it does not want."""
        if old is None or old.claim is None or new is None or new.claim is not None:
            return
        held, end = old.claim, new.last_end
        if end is not None and end.attempt == held.attempt:
            refused = end.kind is EndKind.RELEASED
        else:
            refused = new.last_loss in (LossKind.NOT_ACKNOWLEDGED, LossKind.DECLINED)
        if refused:
            self._scheduler.refuse(held.swarm_id, new.task_id)

    def _waits_for_assignment(self, task: Task) -> bool:
        return (
            task.assigned
            and not task.offered_to
            and rules.on_offer(task, self._records.clock.now())
        )

    def _examine(self, task: Task) -> None:
        """Set off what the swarm that has a task and the dependencies around it demand."""
        self._held_by_nobody(task)
        self._offered_to_nobody(task)
        if task.state is TaskState.BLOCKED:
            self._follow(task)
        elif task.state.ended:
            for dependent in self._dependencies.dependents(task.task_id):
                if dependent.state is TaskState.BLOCKED:
                    self._follow(dependent)

    def _follow(self, task: Task) -> None:
        verdict, culprit = self._dependencies.verdict(task)
        if verdict is Verdict.READY:
            self._follows(f"ready:{task.task_id}", partial(self._make_ready, task.task_id))
        elif verdict is Verdict.DOOMED:
            found = self._records.tasks.get(culprit)
            state = "gone" if found is None else found.state.value
            reason = f"dependency {culprit} is {state}"
            self._follows(f"doom:{task.task_id}", partial(self._endings.doom, task.task_id, reason))

    async def _make_ready(self, task_id: str) -> None:
        entry = self._records.tasks.entry(task_id)
        if entry is None:
            return
        if self._dependencies.missing(entry.value):
            # Archived; or the view shows another replica's task before what it depends on.
            await self._records.mirror.caught_up(entry.create_revision)
            if self._dependencies.verdict(entry.value)[0] is not Verdict.READY:
                return
        await self._dispatcher.make_ready(task_id)

    def _set_timer(self, task_id: str, task: Task | None) -> None:
        name = f"task:{task_id}"
        if task is None:
            self._timers.clear(name)
            return
        now = self._records.clock.now()
        if task.state.ended:
            ended = task.end_time or now
            delay = (ended + KEEP_ENDED - now).total_seconds()
            self._timers.set(name, delay, lambda: self._archive(task_id))
            return
        moment = rules.next_due(task, now)
        if moment is None:
            self._timers.clear(name)
            return
        time, due = moment
        self._timers.set(name, (time - now).total_seconds(), lambda: self._due(task, due))

    def _due(self, task: Task, due: rules.Due) -> None:
        if due is rules.Due.AVAILABLE:
            entry = self._records.tasks.entry(task.task_id)
            if entry is None or entry.value != task:
                return
            if not self._leadership.leading:
                self._wait_over(entry)
                return
            ready = task.model_copy(update={"available_time": None})
            self._follows(
                f"due:{task.task_id}",
                partial(self._endings.offer_again, task.task_id, entry.mod_revision, ready),
            )
            return
        self._follows(f"due:{task.task_id}", partial(self._endings.overdue, task, due))

    def _wait_over(self, entry: Entry[Task]) -> None:
        """Offer a task again where nobody is to write that its wait after a failure is over.

        Whoever leads may have seen the failure only after the wait, with nothing left to write.
        """
        task = entry.value
        if not rules.on_offer(task, self._records.clock.now()):
            # The time of the fabric was moved meanwhile.
            self._set_timer(task.task_id, task)
            return
        born = age(entry.create_revision, task)
        self._offers.task_changed(task, task, born)
        if self._waits_for_assignment(task):
            self._scheduler.task_waits(task, born)
            self._dispatcher.leave(task.task_id)
        self._dispatcher.wake()

    def _archive(self, task_id: str) -> None:
        if self._dependencies.dependents(task_id):
            delay = KEEP_ENDED.total_seconds()
            self._timers.set(f"task:{task_id}", delay, lambda: self._archive(task_id))
            return
        self._follows(f"archive:{task_id}", partial(self._endings.archive, task_id))

    def _offered_to_nobody(self, task: Task) -> None:
        """Take back an offer to a swarm that has no session which takes tasks."""
        swarm_id = task.offered_to
        session = self._records.fleet.sessions.get(swarm_id)
        if swarm_id and (session is None or session.role is not SessionRole.WORKER):
            self._follows(
                f"unoffer:{task.task_id}",
                partial(self._endings.offered_to_nobody, task.task_id, swarm_id),
            )

    def _held_by_nobody(self, task: Task) -> None:
        """Take a task back from a swarm that was deregistered, or lost the session it is bound to.

        A claim may show here after the end of its session, if both were written at once.
        """
        held = task.claim
        if held is None:
            return
        fleet = self._records.fleet
        if held.swarm_id not in fleet.swarms:
            take_back = self._endings.swarm_left
        elif held.expire_time is None and held.swarm_id not in fleet.sessions:
            take_back = self._endings.session_lost
        else:
            return
        self._follows(
            f"lost:{task.task_id}",
            partial(take_back, held.swarm_id, task.task_id, held.attempt),
        )

    def _held_by(self, swarm_id: str) -> list[Task]:
        found = (self._records.tasks.get(name) for name in self._capacity.holdings(swarm_id))
        return [task for task in found if task is not None]

    def _session_changed(self, change: Change[SessionRecord]) -> None:
        swarm_id = change.id
        entry = self._records.fleet.sessions.entry(swarm_id)
        self._capacity.session_over(swarm_id)
        if entry is not None:
            self._revocations.session_opened(swarm_id, entry.mod_revision)
        if change.new is None:
            known = swarm_id in self._records.fleet.swarms
            self._revocations.session_lost(swarm_id, known=known)
            self._scheduler.forgive(swarm_id)
            for task in self._held_by(swarm_id):
                self._held_by_nobody(task)
        for task_id in self._offers.on_offer_to(swarm_id):
            offered = self._records.tasks.get(task_id)
            if offered is not None:
                self._offered_to_nobody(offered)
        self.refresh(swarm_id)

    def _replica_changed(self, replica: str) -> None:
        for swarm_id, session in self._records.fleet.sessions.items():
            if session.replica == replica:
                self.refresh(swarm_id)

    def _profile_changed(self, change: Change[SwarmProfile]) -> None:
        self._capacity.profile_changed(change.id, change.new)
        if change.new is None:
            self._scheduler.swarm_left(change.id)
            for task in self._held_by(change.id):
                self._held_by_nobody(task)
            alert = self._records.blockers.get(self._records.blocker_id(change.id, ""))
            if alert is not None:
                self._about_nobody(alert)
        else:
            self._scheduler.judged_anew(change.id)
        self.refresh(change.id)

    def _about_nobody(self, alert: BlockerAlert) -> None:
        """Forget the blocker of a swarm that was deregistered, unless a task goes with it."""
        known = alert.swarm_id in self._records.fleet.swarms
        if alert.open and not alert.task_id and not known:
            self._follows(
                f"about:{alert.blocker_id}",
                partial(self._endings.forget_blocker_of, alert.swarm_id),
            )

    def _status_changed(self, change: Change[AgentStatus]) -> None:
        before = change.old is not None and change.old.declared
        after = change.new is not None and change.new.declared
        if before or after:
            self.refresh(change.id)

    def _blocker_changed(self, change: Change[BlockerAlert]) -> None:
        alert = change.new
        if alert is None:
            self._timers.clear(f"blocker:{change.id}")
            return
        self._about_nobody(alert)
        for link in self._links.live():
            if link.role is SessionRole.ORCHESTRATOR:
                link.send(Alert(alert))
        self._set_forgetting(change.id, alert)
        self.refresh(alert.swarm_id)

    def _set_forgetting(self, blocker_id: str, alert: BlockerAlert) -> None:
        if alert.resolve_time is not None:
            left = alert.resolve_time + KEEP_ENDED - self._records.clock.now()
            forget = partial(self._endings.forget_blocker, blocker_id)
            self._timers.set(
                f"blocker:{blocker_id}",
                left.total_seconds(),
                lambda: self._follows(f"forget:{blocker_id}", forget),
            )


def _holds(task: Task | None, swarm_id: str) -> bool:
    return task is not None and task.claim is not None and task.claim.swarm_id == swarm_id
