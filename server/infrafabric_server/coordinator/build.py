"""Connects the parts of the coordinator; every part gets what it needs, and nothing else."""

from dataclasses import dataclass
from datetime import timedelta

from infrafabric_server.clock import Clock
from infrafabric_server.coordinator.announcements import Announcements
from infrafabric_server.coordinator.attendance import Attendance
from infrafabric_server.coordinator.background import Background
from infrafabric_server.coordinator.blockers import Blockers
from infrafabric_server.coordinator.capacity import Capacity
from infrafabric_server.coordinator.claims import Claims
from infrafabric_server.coordinator.coordinator import Coordinator
from infrafabric_server.coordinator.creation import Creation
from infrafabric_server.coordinator.dispatcher import Dispatcher
from infrafabric_server.coordinator.endings import Endings
from infrafabric_server.coordinator.link import Links
from infrafabric_server.coordinator.offers import Offers
from infrafabric_server.coordinator.placing import Placing
from infrafabric_server.coordinator.reactions import Reactions
from infrafabric_server.coordinator.records import Records
from infrafabric_server.coordinator.registration import Registration
from infrafabric_server.coordinator.revocations import Revocations
from infrafabric_server.coordinator.scheduler import Scheduler
from infrafabric_server.coordinator.sessions import Sessions
from infrafabric_server.coordinator.slots import Slots
from infrafabric_server.coordinator.timers import Timers
from infrafabric_server.fleet.fleet import Fleet
from infrafabric_server.fleet.leadership import Leadership
from infrafabric_server.governor.roster import Roster
from infrafabric_server.store.mirror import Mirror
from infrafabric_server.store.protocol import Store
from infrafabric_server.witness.flood import Flood
from infrafabric_server.witness.outbox import Outbox


@dataclass(frozen=True, slots=True)
class Limits:
    """Times that the coordinator keeps, in seconds; see Settings."""

    lease: float = 15.0
    claim_ttl: float = 300.0
    ack: float = 5.0


@dataclass(frozen=True, slots=True)
class Parts:
    """A connected coordinator and what must run for it.

    `background`, `dispatcher` and `timers` each have a `run` that the server owns; `begin` of
    `reactions` is called once they run and the mirror has started. `slots` is closed when nothing
    is decided any more.
    """

    coordinator: Coordinator
    background: Background
    dispatcher: Dispatcher
    timers: Timers
    reactions: Reactions
    scheduler: Scheduler
    links: Links
    slots: Slots


def build_coordinator(
    store: Store,
    mirror: Mirror,
    fleet: Fleet,
    roster: Roster,
    outbox: Outbox,
    flood: Flood,
    clock: Clock,
    leadership: Leadership,
    attendance: Attendance,
    *,
    replica: str,
    limits: Limits,
) -> Parts:
    """Return the coordinator over a store; call before the mirror starts."""
    records = Records(store, mirror, fleet, outbox, clock)
    links = Links()
    timers = Timers(clock)
    background = Background()
    capacity = Capacity(fleet, records.blockers, links, clock, roster, Roster(), attendance)
    slots = Slots(records, capacity)
    scheduler = Scheduler(fleet, capacity, leadership)
    claims = Claims(records, capacity, slots, flood, timedelta(seconds=limits.claim_ttl))
    dispatcher = Dispatcher(
        records, scheduler, links, timers, background, claims, slots, attendance, limits.ack
    )
    offers = Offers(records, capacity, scheduler, dispatcher, links, timers)
    endings = Endings(records, claims)
    revocations = Revocations(links, timers)
    reactions = Reactions(
        records,
        capacity,
        scheduler,
        dispatcher,
        offers,
        endings,
        revocations,
        links,
        timers,
        background,
        leadership,
        attendance,
    )
    sessions = Sessions(
        records,
        capacity,
        claims,
        dispatcher,
        offers,
        reactions,
        revocations,
        links,
        slots,
        replica=replica,
        lease_seconds=limits.lease,
    )
    registration = Registration(records, capacity, claims, slots)
    creation = Creation(records, dispatcher, slots)
    placing = Placing(
        records, scheduler, dispatcher, offers, endings, claims, registration, creation
    )
    coordinator = Coordinator(
        records,
        registration,
        creation,
        claims,
        placing,
        Blockers(records),
        endings,
        sessions,
        background,
        capacity,
    )
    reactions.connect()
    Announcements(records, links).connect()
    return Parts(coordinator, background, dispatcher, timers, reactions, scheduler, links, slots)
