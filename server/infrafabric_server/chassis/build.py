"""Connects the parts of the chassis; every part gets what it needs, and nothing else.

The coordinator stands between the two steps: it notes outcomes in the records of swarms, and the
chassis runs what it assigns.
"""

from dataclasses import dataclass
from datetime import timedelta

from infrafabric_server.chassis.chassis import Chassis
from infrafabric_server.chassis.contracts import Contracts
from infrafabric_server.chassis.credentials.credentials import Credentials
from infrafabric_server.chassis.egress.egress import Egress
from infrafabric_server.chassis.egress.resolving import Resolver
from infrafabric_server.chassis.egress.sending import Sender
from infrafabric_server.chassis.halts import Halts
from infrafabric_server.chassis.keeper import Keeper
from infrafabric_server.chassis.levels import Levels
from infrafabric_server.chassis.modules import Modules
from infrafabric_server.chassis.outcomes import OutcomeLog
from infrafabric_server.chassis.recorder import Recorder
from infrafabric_server.chassis.reports import Reports
from infrafabric_server.chassis.reputations import Reputations
from infrafabric_server.chassis.runner import Runner
from infrafabric_server.chassis.runs import Runs
from infrafabric_server.chassis.scratch.scratch import Scratch
from infrafabric_server.chassis.turns import Turns
from infrafabric_server.chassis.upkeep import Upkeep
from infrafabric_server.chassis.workers import Workers
from infrafabric_server.coordinator.coordinator import Coordinator
from infrafabric_server.foundation import Foundation
from infrafabric_server.governor.build import Controls
from infrafabric_server.governor.policy.book import PolicyBook


@dataclass(frozen=True, slots=True)
class SwarmRecords:
    """What is kept about swarms: their modules, what they promised and how they keep it."""

    modules: Modules
    contracts: Contracts
    reputations: Reputations
    levels: Levels
    outcomes: OutcomeLog

    @classmethod
    def over(cls, base: Foundation, policies: PolicyBook) -> "SwarmRecords":
        """Declare the views, before the mirror starts."""
        mirror, fleet, clock = base.mirror, base.fleet, base.clock
        reputations = Reputations(mirror, fleet, clock, policies)
        modules = Modules(base.store, mirror, clock, policies)
        contracts = Contracts(mirror, fleet, modules, base.outbox, clock)
        levels = Levels(policies, contracts.promised)
        outcomes = OutcomeLog(reputations.outcomes, clock, levels)
        return cls(modules, contracts, reputations, levels, outcomes)


@dataclass(frozen=True, slots=True)
class ChassisParts:
    """A connected chassis and what must run for it.

    The server owns `runner.run`, `workers.rest` and `reputations.run`, and `upkeep.run` and
    `standing_keeper.run` while it leads.
    """

    chassis: Chassis
    credentials: Credentials
    runner: Runner
    workers: Workers
    upkeep: Upkeep
    reputations: Reputations
    standing_keeper: Keeper
    standing_reports: Reports


def build_chassis(
    base: Foundation,
    controls: Controls,
    swarms: SwarmRecords,
    coordinator: Coordinator,
    workers: Workers,
    ttl: timedelta,
) -> ChassisParts:
    """Return the chassis over the coordinator; call before the mirror starts.

    Args:
        base: What every component is built on.
        controls: The policy and the breakers, which runs are subject to.
        swarms: What the coordinator notes outcomes in.
        coordinator: Assigns the tasks of loaded swarms.
        workers: Run the modules.
        ttl: How long the claims that the fabric makes for swarms outlive their server.
    """
    fleet, clock = base.fleet, base.clock
    policies, breakers = controls.policies, controls.breakers
    modules, contracts = swarms.modules, swarms.contracts
    background, tasks = coordinator.background, coordinator.tasks
    credentials = Credentials(base.mirror, tasks, base.outbox, base.flood, clock, policies)
    scratch = Scratch(base.store, base.mirror, tasks)
    recorder = Recorder(base.mirror, base.outbox, breakers.counting, swarms.outcomes)
    runs, turns = Runs(modules, workers, policies, clock), Turns(policies)
    halts = Halts(breakers.gate, breakers.records)
    chassis = Chassis(
        modules,
        contracts,
        workers,
        runs,
        turns,
        recorder,
        halts,
        background,
        policies,
        clock,
    )
    runner = Runner(
        tasks,
        contracts,
        coordinator.claims,
        runs,
        turns,
        recorder,
        Egress(credentials, Resolver().resolve, Sender()),
        scratch,
        background,
        clock,
        ttl,
    )
    upkeep = Upkeep(modules, contracts, recorder, credentials, scratch, fleet, clock)
    return ChassisParts(
        chassis=chassis,
        credentials=credentials,
        runner=runner,
        workers=workers,
        upkeep=upkeep,
        reputations=swarms.reputations,
        standing_keeper=_standing_keeper(base, controls, swarms),
        standing_reports=Reports(fleet, swarms.reputations, swarms.levels, clock),
    )


def _standing_keeper(base: Foundation, controls: Controls, swarms: SwarmRecords) -> Keeper:
    return Keeper(
        base.mirror,
        base.fleet,
        swarms.reputations,
        controls.breakers,
        base.leadership,
        base.clock,
        swarms.levels,
    )
