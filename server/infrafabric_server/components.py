"""What decides: every part of a server behind its ports, connected over what is open."""

import os
import secrets
import socket
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from infrafabric_server.adapters import Adapters
from infrafabric_server.chassis.build import ChassisParts, build_chassis
from infrafabric_server.chassis.contracts import Contracts
from infrafabric_server.chassis.credentials.credentials import Credentials
from infrafabric_server.chassis.keeper import Keeper as StandingKeeper
from infrafabric_server.chassis.levels import Levels
from infrafabric_server.chassis.modules import Modules
from infrafabric_server.chassis.outcomes import OutcomeLog
from infrafabric_server.chassis.recorder import Recorder
from infrafabric_server.chassis.reports import Reports
from infrafabric_server.chassis.reputations import Reputations
from infrafabric_server.chassis.scratch.scratch import Scratch
from infrafabric_server.chassis.workers import Workers
from infrafabric_server.clock import Clock, SystemClock
from infrafabric_server.config import Settings
from infrafabric_server.coordinator.attendance import Attendance
from infrafabric_server.coordinator.build import Governing, Limits, Parts, build_coordinator
from infrafabric_server.coordinator.coordinator import Coordinator
from infrafabric_server.coordinator.help.keeper import Keeper as HelpKeeper
from infrafabric_server.fleet.fleet import Fleet
from infrafabric_server.fleet.leadership import Leadership
from infrafabric_server.fleet.presence import Presence, ReplicaPolicy
from infrafabric_server.fleet.replicas import Replicas
from infrafabric_server.governor.breaker.breakers import Breakers
from infrafabric_server.governor.breaker.keeper import Keeper
from infrafabric_server.governor.budget.budgets import Budgets
from infrafabric_server.governor.escalation import causes
from infrafabric_server.governor.escalation.desk import Desk
from infrafabric_server.governor.escalation.records import EscalationRecords
from infrafabric_server.governor.escalation.sender import Sender
from infrafabric_server.governor.escalation.sources import Source, ViewSource
from infrafabric_server.governor.escalation.violations import PREFIX as BROKEN
from infrafabric_server.governor.escalation.violations import Violations, broken_cause
from infrafabric_server.governor.former import Former
from infrafabric_server.governor.governor import Governor
from infrafabric_server.governor.policy.agreement import Agreement
from infrafabric_server.governor.policy.book import PolicyBook
from infrafabric_server.governor.policy.file import PolicyFile
from infrafabric_server.governor.policy.recording import record_violations
from infrafabric_server.governor.roster import Roster
from infrafabric_server.notify import escalation as blockers
from infrafabric_server.notify.notify import Notify
from infrafabric_server.optimise.ledger import Ledger
from infrafabric_server.optimise.reports import CostReports
from infrafabric_server.optimise.roller import Roller, settle_nothing
from infrafabric_server.optimise.rollup_store import Rollups
from infrafabric_server.store.mirror import Mirror
from infrafabric_server.witness.flood import Flood
from infrafabric_server.witness.outbox import Outbox
from infrafabric_server.witness.recording import Recording
from infrafabric_server.witness.witness import Witness


@dataclass(frozen=True, slots=True)
class Components:
    """The parts of one server, connected and not yet running; made by `over`."""

    mirror: Mirror
    replicas: Replicas
    attendance: Attendance
    fleet: Fleet
    policy: PolicyFile
    agreement: Agreement
    governor: Governor
    ledger: Ledger
    breakers: Breakers
    reputations: Reputations
    standing_keeper: StandingKeeper
    standing_reports: Reports
    chassis: ChassisParts
    keeper: Keeper
    help_keeper: HelpKeeper
    former: Former
    roller: Roller
    cost_reports: CostReports
    parts: Parts
    budgets: Budgets
    notify: Notify
    desk: Desk
    violations: Violations
    sender: Sender
    recording: Recording
    witness: Witness

    @classmethod
    async def over(cls, settings: Settings, adapters: Adapters) -> "Components":
        """Connect everything over what is open; the views are not loaded yet.

        Raises StoreError for a witness log that cannot be used, ConfigError for a secret that is
        not there, PolicyFileError for a policy that is wrong.
        """
        store = adapters.store
        name = secrets.token_hex(4)
        mirror = Mirror(store, shared=adapters.shared)
        policies = PolicyBook()
        replicas = _place(settings, adapters, mirror, name, policies)
        clock, leadership = replicas.clock, replicas.leadership
        attendance = _attendance(settings, adapters, replicas.present, name)
        policy = PolicyFile(settings.policy, policies, clock)
        policy.load()
        fleet = Fleet(mirror)
        roster = Roster()
        recording = await _recording(settings, adapters, mirror, leadership)
        outbox = Outbox(clock, name, recording.sealer)
        flood = Flood(outbox, store, clock, component="coordinator")
        record_violations(policies, flood)
        ledger = Ledger(mirror, clock, replica=name)
        rollups = Rollups(store, ledger.costs)
        breakers = Breakers.over(mirror, fleet, ledger, outbox, clock, policies)
        reputations = Reputations(mirror, fleet, clock, policies)
        modules = Modules(store, mirror, clock, policies)
        contracts = Contracts(mirror, fleet, modules, outbox, clock)
        levels = Levels(policies, contracts.promised)
        outcomes = OutcomeLog(reputations.outcomes, clock, levels)
        governing = Governing(
            ledger,
            policies,
            breakers,
            reputations,
            outcomes,
            breakers.gate,
            policies,
            present=replicas.present,
        )
        parts = build_coordinator(
            store,
            mirror,
            fleet,
            roster,
            outbox,
            flood,
            clock,
            leadership,
            attendance,
            governing,
            replica=name,
            limits=_limits(settings),
        )
        notify = _notify(
            settings, mirror, fleet, parts.coordinator, outbox, clock, leadership, ledger, name
        )
        violations = Violations(mirror, clock, leadership)
        policies.subscribe(violations.note)
        hooks = settings.webhooks(os.environ)
        incidents = EscalationRecords(mirror, outbox, clock, [hook.name for hook in hooks])
        budgets = causes.BudgetSource(ledger, policies, clock)
        sources = [*_sources(parts, breakers, violations), budgets]
        settle = settle_nothing if parts.shares is None else parts.shares.settle
        return cls(
            mirror=mirror,
            replicas=replicas,
            attendance=attendance,
            fleet=fleet,
            policy=policy,
            agreement=Agreement(policies, replicas.present, name),
            governor=Governor(fleet.swarms, roster, parts.screening, policies, reputations),
            ledger=ledger,
            breakers=breakers,
            reputations=reputations,
            standing_keeper=StandingKeeper(
                mirror, fleet, reputations, breakers, leadership, clock, levels
            ),
            standing_reports=Reports(fleet, reputations, levels, clock),
            chassis=build_chassis(
                modules,
                contracts,
                Workers.of(settings.data / "modules", policies, clock),
                Credentials(mirror, parts.coordinator.tasks, outbox, flood, clock),
                Scratch(store, mirror, parts.coordinator.tasks),
                Recorder(mirror, outbox, breakers.counting, outcomes),
                *(parts.coordinator, breakers, fleet, policies, clock),
                # What the fabric does as a swarm is as soon lost as what a session does.
                timedelta(seconds=settings.lease_seconds),
            ),
            keeper=Keeper(mirror, fleet, ledger, breakers, leadership, clock, policies),
            help_keeper=parts.help.keeper(breakers.records, leadership),
            former=Former(mirror, fleet, ledger, breakers.records, outbox, leadership, clock),
            roller=Roller(mirror, ledger, rollups, leadership, clock, settle=settle),
            cost_reports=CostReports(rollups),
            parts=parts,
            budgets=_budgets(mirror, ledger, parts, breakers, fleet, policies, outbox, clock),
            notify=notify,
            desk=Desk(incidents, sources, policies, leadership),
            violations=violations,
            sender=Sender(incidents, hooks, leadership),
            recording=recording,
            witness=_witness(recording, flood),
        )


def _limits(settings: Settings) -> Limits:
    return Limits(
        lease=settings.lease_seconds,
        claim_ttl=settings.claim_ttl_seconds,
        ack=settings.ack_seconds,
    )


def _notify(
    settings: Settings,
    mirror: Mirror,
    fleet: Fleet,
    coordinator: Coordinator,
    outbox: Outbox,
    clock: Clock,
    leadership: Leadership,
    ledger: Ledger,
    name: str,
) -> Notify:
    return Notify(
        mirror,
        fleet,
        coordinator,
        outbox,
        clock,
        leadership,
        ledger,
        replica=name,
        broadcasts=coordinator.records.broadcasts,
        requests=coordinator.records.requests,
        escalate_after=timedelta(seconds=settings.escalate_seconds),
    )


def _budgets(
    mirror: Mirror,
    ledger: Ledger,
    parts: Parts,
    breakers: Breakers,
    fleet: Fleet,
    policies: PolicyBook,
    outbox: Outbox,
    clock: Clock,
) -> Budgets:
    return Budgets(
        mirror,
        ledger,
        parts.accounts,
        parts.coordinator.costs,
        breakers.records,
        fleet.swarms,
        policies,
        outbox,
        clock,
    )


def _sources(parts: Parts, breakers: Breakers, violations: Violations) -> list[Source]:
    """Return what escalations of blockers, help, breakers and broken rules come from."""
    records = breakers.records
    return [
        ViewSource(blockers.PREFIX, parts.coordinator.blockers, blockers.cause),
        ViewSource(causes.HELP, parts.coordinator.help, causes.help_cause),
        ViewSource(causes.BREAKERS, records.breakers, causes.breaker_cause),
        ViewSource(causes.HOLDS, records.holds, causes.breaker_cause),
        ViewSource(BROKEN, violations.view, broken_cause),
    ]


def _place(
    settings: Settings, adapters: Adapters, mirror: Mirror, name: str, policies: PolicyBook
) -> Replicas:
    clock = SystemClock()
    if not adapters.shared:
        return Replicas.alone(clock)
    host = socket.gethostname()
    return Replicas.among(
        adapters.store,
        mirror,
        adapters.bus,
        clock,
        replica=name,
        subject=settings.subject,
        policy=lambda: ReplicaPolicy(policy_hash=policies.current.hash, host=host),
    )


def _attendance(
    settings: Settings, adapters: Adapters, present: Presence | None, name: str
) -> Attendance:
    if present is None:
        return Attendance(name)
    subject = f"{settings.subject}.attendance"
    attendance = Attendance(name, present, partial(adapters.bus.publish, subject))
    adapters.bus.subscribe(subject, attendance.hear)
    return attendance


async def _recording(
    settings: Settings, adapters: Adapters, mirror: Mirror, leadership: Leadership
) -> Recording:
    store, log, stream = adapters.store, adapters.log, adapters.stream
    if stream is None:
        return await Recording.alone(store, mirror, log, leadership)
    return await Recording.among(
        store, mirror, log, stream, leadership, adapters.bus, settings.subject
    )


def _witness(recording: Recording, flood: Flood) -> Witness:
    return Witness(
        recording.log,
        recording.tail,
        recording.sealer,
        flood,
        copy=recording.copy,
        patience=recording.patience,
    )
