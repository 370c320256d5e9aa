"""What decides: the components of a server behind their ports, connected over what is open.

Each has a `build` module that connects its own parts. Here they are connected to each other, in
the order in which they need each other:

    adapters ──▶ Foundation ──▶ Controls, SwarmRecords ──▶ coordinator ──▶ governor, chassis, notify
"""

import os
import secrets
import socket
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from infrafabric_server.adapters import Adapters
from infrafabric_server.chassis.build import ChassisParts, SwarmRecords, build_chassis
from infrafabric_server.chassis.workers import Workers
from infrafabric_server.clock import SystemClock
from infrafabric_server.config import Settings
from infrafabric_server.coordinator.attendance import Attendance
from infrafabric_server.coordinator.build import Limits, Parts, build_coordinator
from infrafabric_server.coordinator.coordinator import Coordinator
from infrafabric_server.coordinator.core import Governing
from infrafabric_server.coordinator.help.keeper import Keeper
from infrafabric_server.fleet.fleet import Fleet
from infrafabric_server.fleet.leadership import Leadership
from infrafabric_server.fleet.presence import Presence, ReplicaPolicy
from infrafabric_server.fleet.replicas import Replicas
from infrafabric_server.foundation import Foundation
from infrafabric_server.governor.build import Controls, GovernorParts, build_governor
from infrafabric_server.governor.escalation import causes
from infrafabric_server.governor.escalation.build import EscalationParts, build_escalation
from infrafabric_server.governor.escalation.sources import Source, ViewSource
from infrafabric_server.governor.policy.agreement import Agreement
from infrafabric_server.governor.policy.book import PolicyBook
from infrafabric_server.governor.policy.file import PolicyFile
from infrafabric_server.governor.policy.recording import record_violations
from infrafabric_server.governor.roster import Roster
from infrafabric_server.notify import escalation as blockers
from infrafabric_server.notify.notify import Notify
from infrafabric_server.optimise.ledger import Ledger
from infrafabric_server.optimise.roller import settle_nothing
from infrafabric_server.store.mirror import Mirror
from infrafabric_server.witness.flood import Flood
from infrafabric_server.witness.outbox import Outbox
from infrafabric_server.witness.recording import Recording
from infrafabric_server.witness.witness import Witness


@dataclass(frozen=True, slots=True)
class Components:
    """The components of one server, connected and not yet running; made by `over`."""

    mirror: Mirror
    fleet: Fleet
    replicas: Replicas
    attendance: Attendance
    policy: PolicyFile
    agreement: Agreement
    parts: Parts
    help_keeper: Keeper
    governor: GovernorParts
    chassis: ChassisParts
    escalation: EscalationParts
    notify: Notify
    recording: Recording
    witness: Witness

    @classmethod
    async def over(cls, settings: Settings, adapters: Adapters) -> "Components":
        """Connect everything over what is open; the views are not loaded yet.

        Raises StoreError for a witness log that cannot be used, ConfigError for a secret that is
        not there, PolicyFileError for a policy that is wrong.
        """
        name, policies, roster = secrets.token_hex(4), PolicyBook(), Roster()
        mirror = Mirror(adapters.store, shared=adapters.shared)
        replicas = _replicas(settings, adapters, mirror, name, policies)
        attendance = _attendance(settings, adapters, replicas.present, name)
        policy = PolicyFile(settings.policy, policies, replicas.clock)
        policy.load()
        fleet = Fleet(mirror)
        recording = await _recording(settings, adapters, mirror, replicas.leadership)
        base = _foundation(adapters, mirror, fleet, replicas, recording, name)
        record_violations(policies, base.flood)
        controls = Controls.over(base, policies)
        swarms = SwarmRecords.over(base, policies)
        governing = _governing(controls, swarms, replicas.present)
        parts = build_coordinator(base, governing, roster, attendance, _limits(settings))
        coordinator = parts.coordinator
        return cls(
            mirror=mirror,
            fleet=fleet,
            replicas=replicas,
            attendance=attendance,
            policy=policy,
            agreement=Agreement(policies, replicas.present, name),
            parts=parts,
            notify=_notify(settings, base, coordinator, controls.ledger),
            help_keeper=parts.help.keeper(controls.breakers.records, base.leadership),
            governor=build_governor(
                base,
                controls,
                roster,
                swarms.reputations,
                parts.screening,
                parts.accounts,
                coordinator.costs,
                settle_nothing if parts.shares is None else parts.shares.settle,
            ),
            chassis=build_chassis(
                base,
                controls,
                swarms,
                coordinator,
                Workers.of(settings.data / "modules", policies, base.clock),
                # What the fabric does as a swarm is as soon lost as what a session does.
                timedelta(seconds=settings.lease_seconds),
            ),
            escalation=build_escalation(
                base, controls, settings.webhooks(os.environ), _sources(coordinator)
            ),
            recording=recording,
            witness=_witness(recording, base.flood),
        )


def _foundation(
    adapters: Adapters,
    mirror: Mirror,
    fleet: Fleet,
    replicas: Replicas,
    recording: Recording,
    name: str,
) -> Foundation:
    outbox = Outbox(replicas.clock, name, recording.sealer)
    return Foundation(
        replica=name,
        store=adapters.store,
        mirror=mirror,
        fleet=fleet,
        clock=replicas.clock,
        leadership=replicas.leadership,
        outbox=outbox,
        flood=Flood(outbox, adapters.store, replicas.clock, component="coordinator"),
    )


def _governing(controls: Controls, swarms: SwarmRecords, present: Presence | None) -> Governing:
    return Governing(
        controls,
        gate=controls.breakers.gate,
        judge=controls.policies,
        reputations=swarms.reputations,
        outcomes=swarms.outcomes,
        present=present,
    )


def _limits(settings: Settings) -> Limits:
    return Limits(
        lease=settings.lease_seconds,
        claim_ttl=settings.claim_ttl_seconds,
        ack=settings.ack_seconds,
    )


def _sources(coordinator: Coordinator) -> list[Source]:
    """Return what escalations of blockers and of requests for help come from."""
    return [
        ViewSource(blockers.PREFIX, coordinator.blockers, blockers.cause),
        ViewSource(causes.HELP, coordinator.help, causes.help_cause),
    ]


def _notify(
    settings: Settings, base: Foundation, coordinator: Coordinator, ledger: Ledger
) -> Notify:
    return Notify(
        base.mirror,
        base.fleet,
        coordinator,
        base.outbox,
        base.clock,
        base.leadership,
        ledger,
        replica=base.replica,
        broadcasts=coordinator.records.broadcasts,
        requests=coordinator.records.requests,
        escalate_after=timedelta(seconds=settings.escalate_seconds),
    )


def _replicas(
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
