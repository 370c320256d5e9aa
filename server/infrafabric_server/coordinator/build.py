"""Connects the parts of the coordinator; every part gets what it needs, and nothing else."""

from dataclasses import dataclass, field
from datetime import timedelta

from infrafabric_server.clock import Clock
from infrafabric_server.coordinator.admission import Admission, counter
from infrafabric_server.coordinator.announcements import Announcements
from infrafabric_server.coordinator.attendance import Attendance
from infrafabric_server.coordinator.background import Background
from infrafabric_server.coordinator.blockers import Blockers
from infrafabric_server.coordinator.capacity import Capacity
from infrafabric_server.coordinator.claims import Claims
from infrafabric_server.coordinator.coordinator import Coordinator
from infrafabric_server.coordinator.costs import Costs
from infrafabric_server.coordinator.creation import Creation
from infrafabric_server.coordinator.dispatcher import Dispatcher
from infrafabric_server.coordinator.doubts import Doubts
from infrafabric_server.coordinator.endings import Endings
from infrafabric_server.coordinator.halting import Halting
from infrafabric_server.coordinator.help.build import Help
from infrafabric_server.coordinator.help.involved import Involved
from infrafabric_server.coordinator.help.money import HelpMoney
from infrafabric_server.coordinator.judging_anew import JudgingAnew
from infrafabric_server.coordinator.link import Links, SessionLink
from infrafabric_server.coordinator.offers import Offers
from infrafabric_server.coordinator.placing import Placing
from infrafabric_server.coordinator.reactions import Reactions
from infrafabric_server.coordinator.records import Records
from infrafabric_server.coordinator.registration import Registration
from infrafabric_server.coordinator.revocations import Revocations
from infrafabric_server.coordinator.scheduler import Scheduler
from infrafabric_server.coordinator.sessions import Sessions
from infrafabric_server.coordinator.settlement import Outcomes, Settlement
from infrafabric_server.coordinator.shortages import Shortages
from infrafabric_server.coordinator.slots import Slots
from infrafabric_server.coordinator.timers import Timers
from infrafabric_server.coordinator.unassigned import Unassigned
from infrafabric_server.fleet.fleet import Fleet
from infrafabric_server.fleet.leadership import Leadership
from infrafabric_server.fleet.presence import Presence
from infrafabric_server.governor.breaker.breakers import Breakers
from infrafabric_server.governor.budget.accounts import Accounts
from infrafabric_server.governor.budget.shares import Shares
from infrafabric_server.governor.gate import Gate, Gates, Judge
from infrafabric_server.governor.policy.book import PolicyBook
from infrafabric_server.governor.reputation import Reputations
from infrafabric_server.governor.roster import Roster
from infrafabric_server.governor.screening import Screening
from infrafabric_server.optimise.ledger import Ledger
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
class Governing:
    """What claims are admitted by: money, the policy, and what else keeps work from a swarm.

    `reputations` say who goes first, and `outcomes` is where they come from.
    """

    ledger: Ledger
    policies: PolicyBook
    breakers: Breakers
    reputations: Reputations
    outcomes: Outcomes
    gate: Gate = field(default_factory=Gates)
    judge: Judge | None = None
    present: Presence | None = None


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
    accounts: Accounts
    shares: Shares | None
    screening: Screening
    help: Help


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
    governing: Governing,
    *,
    replica: str,
    limits: Limits,
) -> Parts:
    """Return the coordinator over a store; call before the mirror starts."""
    records = Records(store, mirror, fleet, outbox, clock)
    links, involved = Links(), Involved(records.help)
    timers, background = Timers(clock), Background()
    ledger, policies = governing.ledger, governing.policies
    accounts = Accounts(ledger, clock)
    records.tasks.count(counter(accounts))
    shortages = Shortages(ledger, accounts, timers, clock)
    admission = Admission(
        fleet, ledger, accounts, policies, governing.gate, governing.judge, shortages
    )
    capacity = Capacity(
        fleet,
        records.blockers,
        links,
        clock,
        roster,
        Roster(),
        attendance,
        admission,
        involved,
        governing.reputations,
    )
    scheduler = Scheduler(fleet, records.tasks, capacity, admission, leadership, policies)
    screening = Screening(fleet.swarms, governing.gate, accounts, policies, capacity)
    doubts = Doubts(mirror, accounts, timers, background)
    shares = None
    if governing.present is not None:
        present, spawn = governing.present, background.spawn
        shares = Shares(mirror, ledger, accounts, present, spawn, replica=replica)
    ground = _Ground(
        records=records,
        links=links,
        timers=timers,
        background=background,
        capacity=capacity,
        slots=Slots(records, capacity, admission, accounts, doubts.note, replica, shares),
        scheduler=scheduler,
        unassigned=Unassigned(capacity, scheduler, admission, screening, policies),
        settlement=Settlement(ledger, accounts, fleet, roster, policies, clock, governing.outcomes),
        accounts=accounts,
        policies=policies,
        breakers=governing.breakers,
        gate=governing.gate,
        help=Help.over(
            records,
            involved,
            links,
            roster,
            governing.gate,
            policies,
            replica=replica,
            lease_seconds=limits.lease,
        ),
    )
    work = _work(ground, flood, leadership, attendance, limits)
    coordinator = _coordinator(ground, work, replica, limits)
    work.reactions.connect()
    refresh = work.reactions.refresh
    anew = JudgingAnew(scheduler, work.offers, work.dispatcher, links, background, refresh)
    policies.follow(anew.policy_changed)
    shortages.connect(records.tasks, work.reactions.admission_changed)
    work.halting.connect()
    ground.help.connect(work.reactions.refresh)
    Announcements(records, links).connect()
    return Parts(
        coordinator,
        ground.background,
        work.dispatcher,
        ground.timers,
        work.reactions,
        ground.scheduler,
        links,
        ground.slots,
        accounts,
        shares,
        screening,
        ground.help,
    )


@dataclass(frozen=True, slots=True)
class _Ground:
    """What all the others stand on: what is stored, who is there, and what is under way."""

    records: Records
    links: Links
    timers: Timers
    background: Background
    capacity: Capacity
    slots: Slots
    scheduler: Scheduler
    unassigned: Unassigned
    settlement: Settlement
    accounts: Accounts
    policies: PolicyBook
    breakers: Breakers
    gate: Gate
    help: Help


@dataclass(frozen=True, slots=True)
class _Work:
    """What happens to tasks, by a call or by itself."""

    claims: Claims
    dispatcher: Dispatcher
    offers: Offers
    endings: Endings
    revocations: Revocations
    reactions: Reactions
    halting: Halting


def _work(
    ground: _Ground, flood: Flood, leadership: Leadership, attendance: Attendance, limits: Limits
) -> _Work:
    records, links, timers = ground.records, ground.links, ground.timers
    capacity, slots, scheduler = ground.capacity, ground.slots, ground.scheduler
    background, settlement = ground.background, ground.settlement
    ttl = timedelta(seconds=limits.claim_ttl)
    counting = ground.breakers.counting
    claims = Claims(records, capacity, slots, settlement, counting, ground.policies, flood, ttl)
    dispatcher = Dispatcher(
        records, scheduler, links, timers, background, claims, slots, attendance, limits.ack
    )
    offers = Offers(
        records, capacity, scheduler, dispatcher, links, timers, ground.policies, ground.gate
    )
    endings = Endings(records, claims, settlement)
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
    halting = Halting(
        records,
        ground.breakers,
        claims,
        endings,
        offers,
        capacity,
        links,
        timers,
        background,
        leadership,
        reactions.refresh,
    )
    return _Work(claims, dispatcher, offers, endings, revocations, reactions, halting)


def _coordinator(ground: _Ground, work: _Work, replica: str, limits: Limits) -> Coordinator:
    records, capacity, slots = ground.records, ground.capacity, ground.slots
    claims, dispatcher, offers, endings = work.claims, work.dispatcher, work.offers, work.endings

    def greet(link: SessionLink, resumed: bool) -> None:  # named by the callable
        work.halting.greet(link)
        ground.help.frames.greet(link, resumed=resumed)

    sessions = Sessions(
        records,
        capacity,
        claims,
        dispatcher,
        offers,
        work.reactions,
        work.revocations,
        ground.links,
        slots,
        greet,
        replica=replica,
        lease_seconds=limits.lease,
    )
    registration = Registration(records, capacity, claims, slots)
    creation = Creation(records, dispatcher, slots, ground.policies)
    placing = Placing(
        records,
        ground.scheduler,
        dispatcher,
        offers,
        endings,
        claims,
        registration,
        creation,
        ground.unassigned,
        ground.gate,
    )
    return Coordinator(
        records,
        registration,
        creation,
        claims,
        placing,
        Blockers(records),
        endings,
        sessions,
        ground.background,
        capacity,
        _costs(ground, claims),
        ground.help.requests,
    )


def _costs(ground: _Ground, claims: Claims) -> Costs:
    settlement, counting = ground.settlement, ground.breakers.counting
    money = HelpMoney(ground.records, settlement, counting, ground.help.liveness)
    return Costs(ground.records, claims, settlement, counting, ground.accounts, money)
