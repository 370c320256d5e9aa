"""Tasks on offer: shown to one swarm or to all that qualify, taken by the first claim."""

from collections.abc import Callable

from infrafabric_server.coordinator import rules
from infrafabric_server.coordinator.capacity import Capacity
from infrafabric_server.coordinator.dispatcher import Dispatcher, send_tasks
from infrafabric_server.coordinator.frames import Delivery
from infrafabric_server.coordinator.link import PATIENCE_SECONDS, Links, SessionLink
from infrafabric_server.coordinator.models import Dispatch, Task
from infrafabric_server.coordinator.records import Records
from infrafabric_server.coordinator.scheduler import Scheduler
from infrafabric_server.coordinator.timers import Timers
from infrafabric_server.coordinator.waiting import Waiting
from infrafabric_server.governor.gate import Gate
from infrafabric_server.governor.matching import hourly_cap
from infrafabric_server.governor.policy.book import PolicyBook

MAX_OFFERS = 64
# Live tasks of which a session that has declined so many is shown no broadcast any more.
MAX_DECLINED = 4_096
# It may be shown some again when this has passed, and some have ended.
_FULL_SECONDS = 60.0
# When a session has declined so many tasks, and twice as many, and so on, those that have
# ended meanwhile are forgotten.
_DECLINED = 1_024


class Offers:
    """Which session sees which offer; derived from the tasks, never stored.

    A broadcast is shown to each session that qualifies and has a free slot, at most
    `MAX_OFFERS` at a time; a push to one swarm is shown at once. A session that was just shown
    an offer is assigned nothing until it has decided, or `PATIENCE_SECONDS` have passed.
    """

    def __init__(
        self,
        records: Records,
        capacity: Capacity,
        scheduler: Scheduler,
        dispatcher: Dispatcher,
        links: Links,
        timers: Timers,
        policies: PolicyBook,
        gate: Gate,
    ) -> None:
        self._gate = gate
        self._policies = policies
        self._scheduler = scheduler
        self._dispatcher = dispatcher
        self._timers = timers
        self._records = records
        self._capacity = capacity
        self._links = links
        self._regular = Waiting(policies)
        self._fillers = Waiting(policies)
        self._pushed: dict[str, set[str]] = {}

    def task_changed(self, old: Task | None, new: Task | None, age: tuple[int, int]) -> None:
        """Note a task that came on offer or left."""
        if old is not None and old.offered_to and (new is None or new.offered_to != old.offered_to):
            self._withdraw(old.task_id, old.offered_to)
        now = self._records.clock.now()
        if new is None or not rules.on_offer(new, now):
            if old is not None and old.dispatch is Dispatch.BROADCAST:
                self._waiting(old).remove(old.task_id)
                for link in self._links.live():
                    self.answered(link, old.task_id)
            return
        if new.offered_to:
            self._pushed.setdefault(new.offered_to, set()).add(new.task_id)
            self._waiting(new).remove(new.task_id)
            wanted = self._links.get(new.offered_to)
            if wanted is not None and self._gate.closed(new.offered_to) is None:
                self._show(wanted, new)
        elif new.dispatch is Dispatch.BROADCAST:
            self._waiting(new).put(new, age)
            qualifies = self.qualifier(new)
            for link in self._links.live():
                if self._sees(link, new, qualifies):
                    self._show(link, new)

    def _waiting(self, task: Task) -> Waiting:
        return self._fillers if task.spec.filler else self._regular

    def _sees(self, link: SessionLink, task: Task, qualifies: Callable[[str], bool]) -> bool:
        """Tell whether a broadcast task is for this session now."""
        if task.task_id in link.declined or len(link.declined) >= MAX_DECLINED:
            return False
        if len(link.offered) >= MAX_OFFERS:
            return False
        available = self._capacity.availability(link.swarm_id)
        return (
            available.allows(task)
            and qualifies(link.swarm_id)
            and self._capacity.admits(link.swarm_id, task)
        )

    def qualifier(self, task: Task) -> Callable[[str], bool]:
        """Return what tells of swarms, now, whether they qualify for a task at its price."""
        required = task.spec.required_capabilities
        matching = self._policies.current.policy.matching_for(task.task_id, required)
        cap = hourly_cap(task.spec.max_cost_micros, task.spec.estimated_duration)
        return lambda swarm_id: self._capacity.roster.qualifies(
            swarm_id, required, comparison=matching.comparison, max_cost_per_hour_micros=cap
        )

    def sort(self, most: int) -> bool:
        """Sort some broadcast tasks by a policy that is new; return whether all are."""
        return self._regular.sort(most) and self._fillers.sort(most)

    def on_offer_to(self, swarm_id: str) -> list[str]:
        """Return the ids of the tasks pushed to a swarm that it has not claimed."""
        return sorted(self._pushed.get(swarm_id, ()))

    def show_all(self, link: SessionLink) -> None:
        """Show a session the offers that it has not seen and could take, if it may have any."""
        if self._gate.closed(link.swarm_id) is not None:
            return
        for pushed in self.on_offer_to(link.swarm_id):
            task = self._records.tasks.get(pushed)
            if task is not None and pushed not in link.offered:
                self._show(link, task)
        profile = self._records.fleet.swarms.get(link.swarm_id)
        if profile is None:
            return
        refused: set[str] = set()
        for waiting in (self._regular, self._fillers):
            while len(waiting) and len(link.offered) < MAX_OFFERS and len(refused) < MAX_OFFERS:
                passed = link.offered.keys() | link.declined | refused
                task_id = waiting.best_for(profile, passed)
                found = None if task_id is None else self._records.tasks.get(task_id)
                if found is not None and not self._capacity.admits(link.swarm_id, found):
                    refused.add(found.task_id)
                    continue
                if found is None or not self._sees(link, found, self.qualifier(found)):
                    break
                self._show(link, found)

    def _show(self, link: SessionLink, task: Task) -> None:
        if link.credit is not None and link.credit <= 0:
            return
        link.offered[task.task_id] = self._records.clock.monotonic()
        self._timers.set(
            f"offer:{link.epoch}:{task.task_id}",
            PATIENCE_SECONDS,
            lambda: self._look_again(link.swarm_id),
        )
        send_tasks(link, [task], Delivery.OFFERED)

    def declined(self, link: SessionLink, task_id: str) -> None:
        """Note that a session does not want a task that has not ended: it is not shown it again."""
        link.declined.add(task_id)
        count = len(link.declined)
        if count >= MAX_DECLINED or (count >= _DECLINED and count.bit_count() == 1):
            self._forget_ended(link)
        self.answered(link, task_id)

    def _forget_ended(self, link: SessionLink) -> None:
        """Forget what ended of all that a session declined, without a word to it."""
        live = self._records.tasks
        link.declined -= {i for i in link.declined if (t := live.get(i)) is None or t.state.ended}
        if len(link.declined) >= MAX_DECLINED:
            name = f"declined:{link.epoch}"
            self._timers.set(name, _FULL_SECONDS, lambda: self._look_at_declined(link))

    def _look_at_declined(self, link: SessionLink) -> None:
        if self._links.get(link.swarm_id) is link:
            self._forget_ended(link)
            self.show_all(link)

    def answered(self, link: SessionLink, task_id: str) -> None:
        """Note that a session decided about an offer, or that the offer is gone."""
        if link.offered.pop(task_id, None) is not None:
            self._timers.clear(f"offer:{link.epoch}:{task_id}")
            self._look_again(link.swarm_id)

    def _look_again(self, swarm_id: str) -> None:
        self._scheduler.swarm_changed(swarm_id)
        self._dispatcher.wake()

    def _withdraw(self, task_id: str, swarm_id: str) -> None:
        pushed = self._pushed.get(swarm_id)
        if pushed is not None:
            pushed.discard(task_id)
            if not pushed:
                del self._pushed[swarm_id]
        link = self._links.get(swarm_id)
        if link is not None:
            self.answered(link, task_id)
