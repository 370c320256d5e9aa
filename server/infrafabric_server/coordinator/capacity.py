"""Who can take work now: slots, sessions and what swarms say of themselves."""

from collections import defaultdict
from collections.abc import Collection, Mapping
from enum import Enum, auto

from infrafabric_server.clock import Clock
from infrafabric_server.coordinator.admission import Admission
from infrafabric_server.coordinator.attendance import Attendance
from infrafabric_server.coordinator.help.involved import Involved
from infrafabric_server.coordinator.link import Links
from infrafabric_server.coordinator.models import BlockerAlert, Task
from infrafabric_server.fleet.fleet import Fleet
from infrafabric_server.fleet.models import SessionRole, Status, SwarmProfile
from infrafabric_server.governor.reputation import Reputations
from infrafabric_server.governor.roster import Roster
from infrafabric_server.limits import MAX_HELD
from infrafabric_server.store.mirror import View


class Availability(Enum):
    """What a swarm may be given."""

    NONE = auto()
    FILLERS = auto()
    ANY = auto()

    def allows(self, task: Task) -> bool:
        """Tell whether the swarm may be given this task."""
        return self is Availability.ANY or (task.spec.filler and self is Availability.FILLERS)


class Capacity:
    """Slots taken and free of each swarm, kept up to date in two rosters.

    `roster` marks the swarms that may take any task, `filler_roster` those that may take a
    filler: the same ones and those that are blocked. A reservation holds a slot while a
    decision about it is being written. `elsewhere` has the free swarms of other replicas.
    """

    def __init__(
        self,
        fleet: Fleet,
        blockers: View[BlockerAlert],
        links: Links,
        clock: Clock,
        roster: Roster,
        filler_roster: Roster,
        attendance: Attendance,
        admission: Admission,
        involved: Involved,
        reputations: Reputations,
    ) -> None:
        self._involved = involved
        self._reputations = reputations
        reputations.subscribe(self._judged)
        self._attendance = attendance
        self._admission = admission
        self._blockers = blockers
        self._fleet = fleet
        self._links = links
        self._clock = clock
        self.roster = roster
        self.filler_roster = filler_roster
        self._held: defaultdict[str, dict[str, bool]] = defaultdict(dict)
        self._reserved: defaultdict[str, set[str]] = defaultdict(set)
        self._free_since: dict[str, float] = {}
        self.elsewhere: set[str] = set()

    def profile_changed(self, swarm_id: str, profile: SwarmProfile | None) -> None:
        """Note a registration in the filler roster; the governor keeps the other one."""
        if profile is None:
            self.filler_roster.remove(swarm_id)
            return
        self._enter(swarm_id, profile)
        self.refresh(swarm_id)

    def _judged(self, swarm_id: str) -> None:
        profile = self._fleet.swarms.get(swarm_id)
        if profile is not None and swarm_id in self.filler_roster:
            self._enter(swarm_id, profile)

    def _enter(self, swarm_id: str, profile: SwarmProfile) -> None:
        self.filler_roster.put(
            swarm_id,
            profile.capabilities,
            profile.cost_per_hour_micros,
            profile.model,
            self._reputations.of(swarm_id),
        )

    def task_changed(self, old: Task | None, new: Task | None) -> set[str]:
        """Note who holds a task now; return the swarms whose slots changed, to be refreshed."""
        touched: set[str] = set()
        if old is not None and old.claim is not None:
            holder = old.claim.swarm_id
            self._held[holder].pop(old.task_id, None)
            touched.add(holder)
        if new is not None and new.claim is not None:
            holder = new.claim.swarm_id
            self._held[holder][new.task_id] = new.claim.parked
            touched.add(holder)
        for swarm_id in touched:
            if not self._held[swarm_id]:
                del self._held[swarm_id]
        return touched

    def holdings(self, swarm_id: str) -> Mapping[str, bool]:
        """Return the ids of the tasks that a swarm holds, with whether each is parked."""
        return self._held.get(swarm_id, {})

    def free_slots(self, swarm_id: str) -> int:
        """Return how many more tasks the swarm may be given: each request it helps takes a slot."""
        return self.claimable_slots(swarm_id) - len(self._involved.helping(swarm_id))

    def claimable_slots(self, swarm_id: str) -> int:
        """Return how many more tasks the swarm may claim by itself; parked ones take no slot.

        With them it may hold `MAX_HELD` all the same.
        """
        profile = self._fleet.swarms.get(swarm_id)
        if profile is None:
            return 0
        held = self._held.get(swarm_id, {})
        reserved = self._reserved.get(swarm_id, set())
        parked = sum(held.values())
        slots = min(profile.max_concurrent_tasks, MAX_HELD - parked)
        return slots - (len(held) - parked) - sum(1 for t in reserved if t not in held)

    def detached(self, swarm_id: str, epoch: int) -> None:
        """Note that the stream of a session here was cut: it takes nothing until it is resumed."""
        self._attendance.note(swarm_id, epoch, takes=False)

    def session_over(self, swarm_id: str) -> None:
        """Note that there is another session of a swarm, or none."""
        self._attendance.forget(swarm_id)

    def has_room(self, swarm_id: str, claims: Collection[str]) -> bool:
        """Tell whether a swarm may work on these tasks, beside those that it is seen to hold."""
        profile = self._fleet.swarms.get(swarm_id)
        held = self._held.get(swarm_id, {})
        if profile is None:
            return False
        working = {task_id for task_id, parked in held.items() if not parked}
        most = min(profile.max_concurrent_tasks, MAX_HELD - (len(held) - len(working)))
        return len(working.union(claims)) <= most

    def reserve(self, swarm_id: str, task_id: str) -> None:
        """Hold a slot for a task whose claim is being written."""
        self._reserved[swarm_id].add(task_id)
        self.refresh(swarm_id)

    def unreserve(self, swarm_id: str, task_id: str) -> None:
        """Give the slot up, or leave it to the claim that was written."""
        waiting = self._reserved.get(swarm_id)
        if waiting is not None:
            waiting.discard(task_id)
            if not waiting:
                del self._reserved[swarm_id]
        self.refresh(swarm_id)

    def is_here(self, swarm_id: str) -> bool:
        """Tell whether a swarm has its session on this replica."""
        return self._links.get(swarm_id) is not None

    def availability(self, swarm_id: str) -> Availability:
        """Return what the swarm may be given now."""
        if not self._reachable(swarm_id) or self.free_slots(swarm_id) <= 0:
            return Availability.NONE
        if self._admission.shut(swarm_id):
            return Availability.NONE
        taskless = self._blockers.get(f"{swarm_id}/-")
        if any(self._held.get(swarm_id, {}).values()) or (taskless is not None and taskless.open):
            return Availability.FILLERS
        status = self._fleet.statuses.get(swarm_id)
        if status is None or not status.declared or status.status is Status.IDLE:
            return Availability.ANY
        return Availability.FILLERS if status.status is Status.BLOCKED else Availability.NONE

    def admits(self, swarm_id: str, task: Task) -> bool:
        """Tell whether a claim of the task by the swarm would be admitted now."""
        return self._admission.refusal(task, swarm_id) is None

    def _reachable(self, swarm_id: str) -> bool:
        link = self._links.get(swarm_id)
        if link is None:
            session = self._fleet.sessions.entry(swarm_id)
            if session is None or session.value.role is not SessionRole.WORKER:
                return False
            return self._attendance.attends(session)
        reserved = len(self._reserved.get(swarm_id, ()))
        return link.takes_work and (link.credit is None or link.credit > reserved)

    def refresh(self, swarm_id: str) -> Availability:
        """Bring both rosters up to date for one swarm and return what it may be assigned.

        A slot stays free for each offer that the swarm still decides about.
        """
        available = self.availability(swarm_id)
        link = self._links.get(swarm_id)
        if link is not None:
            takes = link.takes_work and link.credit != 0
            self._attendance.note(swarm_id, link.epoch, takes=takes)
        if link is not None and link.offered and available is not Availability.NONE:
            deciding = link.deciding(self._clock.monotonic())
            if self.free_slots(swarm_id) <= deciding:
                available = Availability.NONE
        if link is None and available is not Availability.NONE:
            self.elsewhere.add(swarm_id)
        else:
            self.elsewhere.discard(swarm_id)
        if available is Availability.NONE:
            self._free_since.pop(swarm_id, None)
            since = None
        else:
            since = self._free_since.setdefault(swarm_id, self._clock.monotonic())
        self.roster.set_free(swarm_id, since if available is Availability.ANY else None)
        self.filler_roster.set_free(swarm_id, since)
        return available
