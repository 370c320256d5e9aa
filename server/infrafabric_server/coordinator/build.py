"""Connects the parts of the coordinator; every part gets what it needs, and nothing else."""

from dataclasses import dataclass
from datetime import timedelta

from infrafabric_server.coordinator.announcements import Announcements
from infrafabric_server.coordinator.attendance import Attendance
from infrafabric_server.coordinator.background import Background
from infrafabric_server.coordinator.blockers import Blockers
from infrafabric_server.coordinator.claims import Claims
from infrafabric_server.coordinator.coordinator import Coordinator
from infrafabric_server.coordinator.core import Core, Governing
from infrafabric_server.coordinator.costs import Costs
from infrafabric_server.coordinator.creation import Creation
from infrafabric_server.coordinator.dispatcher import Dispatcher
from infrafabric_server.coordinator.endings import Endings
from infrafabric_server.coordinator.halting import Halting
from infrafabric_server.coordinator.help.build import Help
from infrafabric_server.coordinator.help.money import HelpMoney
from infrafabric_server.coordinator.judging_anew import JudgingAnew
from infrafabric_server.coordinator.link import Links, SessionLink
from infrafabric_server.coordinator.offers import Offers
from infrafabric_server.coordinator.placing import Placing
from infrafabric_server.coordinator.reactions import Reactions
from infrafabric_server.coordinator.registration import Registration
from infrafabric_server.coordinator.revocations import Revocations
from infrafabric_server.coordinator.scheduler import Scheduler
from infrafabric_server.coordinator.sessions import Sessions
from infrafabric_server.coordinator.slots import Slots
from infrafabric_server.coordinator.timers import Timers
from infrafabric_server.foundation import Foundation
from infrafabric_server.governor.budget.accounts import Accounts
from infrafabric_server.governor.budget.shares import Shares
from infrafabric_server.governor.roster import Roster
from infrafabric_server.governor.screening import Screening


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
    accounts: Accounts
    shares: Shares | None
    screening: Screening
    help: Help


def build_coordinator(
    base: Foundation,
    governing: Governing,
    roster: Roster,
    attendance: Attendance,
    limits: Limits,
) -> Parts:
    """Return the coordinator; call before the mirror starts.

    Args:
        base: What every component is built on.
        governing: What claims are admitted by.
        roster: The index of swarms, which the governor searches too.
        attendance: Knows which sessions at other replicas take tasks.
        limits: The times that it keeps.
    """
    core = Core.over(base, governing, roster, attendance, lease_seconds=limits.lease)
    work = _work(core, limits)
    coordinator = _coordinator(core, work, limits)
    _connect(core, work)
    return Parts(
        coordinator=coordinator,
        background=core.background,
        dispatcher=work.dispatcher,
        timers=core.timers,
        reactions=work.reactions,
        scheduler=core.scheduler,
        links=core.links,
        slots=core.slots,
        accounts=core.accounts,
        shares=core.shares,
        screening=core.screening,
        help=core.help,
    )


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


def _work(core: Core, limits: Limits) -> _Work:
    records, links, timers = core.records, core.links, core.timers
    capacity, slots, scheduler = core.capacity, core.slots, core.scheduler
    background, attendance, leadership = (
        core.background,
        core.attendance,
        core.base.leadership,
    )
    policies, breakers = core.governing.controls.policies, core.governing.controls.breakers
    claims = Claims(
        records,
        capacity,
        slots,
        core.settlement,
        breakers.counting,
        policies,
        core.base.flood,
        timedelta(seconds=limits.claim_ttl),
    )
    dispatcher = Dispatcher(
        records, scheduler, links, timers, background, claims, slots, attendance, limits.ack
    )
    offers = Offers(
        records, capacity, scheduler, dispatcher, links, timers, policies, core.governing.gate
    )
    endings = Endings(records, claims, core.settlement)
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
        breakers,
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


def _coordinator(core: Core, work: _Work, limits: Limits) -> Coordinator:
    records, capacity, slots = core.records, core.capacity, core.slots
    claims, dispatcher, offers, endings = work.claims, work.dispatcher, work.offers, work.endings

    def greet(link: SessionLink, resumed: bool) -> None:  # named by the callable
        work.halting.greet(link)
        core.help.frames.greet(link, resumed=resumed)

    sessions = Sessions(
        records,
        capacity,
        claims,
        dispatcher,
        offers,
        work.reactions,
        work.revocations,
        core.links,
        slots,
        greet,
        replica=core.base.replica,
        lease_seconds=limits.lease,
    )
    registration = Registration(records, capacity, claims, slots)
    creation = Creation(records, dispatcher, slots, core.governing.controls.policies)
    placing = Placing(
        records,
        core.scheduler,
        dispatcher,
        offers,
        endings,
        claims,
        registration,
        creation,
        core.unassigned,
        core.governing.gate,
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
        core.background,
        capacity,
        _costs(core, claims),
        core.help.requests,
    )


def _costs(core: Core, claims: Claims) -> Costs:
    settlement, counting = core.settlement, core.governing.controls.breakers.counting
    money = HelpMoney(core.records, settlement, counting, core.help.liveness)
    return Costs(core.records, claims, settlement, counting, core.accounts, money)


def _connect(core: Core, work: _Work) -> None:
    """Have the parts hear of what concerns them, in an order on which they rely."""
    links, refresh = core.links, work.reactions.refresh
    work.reactions.connect()
    anew = JudgingAnew(
        core.scheduler, work.offers, work.dispatcher, links, core.background, refresh
    )
    core.governing.controls.policies.follow(anew.policy_changed)
    core.shortages.connect(core.records.tasks, work.reactions.admission_changed)
    work.halting.connect()
    core.help.connect(refresh)
    Announcements(core.records, links).connect()
