"""Connects the parts of the chassis; every part gets what it needs, and nothing else."""

from dataclasses import dataclass
from datetime import timedelta

from infrafabric_server.chassis.chassis import Chassis
from infrafabric_server.chassis.contracts import Contracts
from infrafabric_server.chassis.credentials.credentials import Credentials
from infrafabric_server.chassis.egress.egress import Egress
from infrafabric_server.chassis.egress.resolving import Resolver
from infrafabric_server.chassis.egress.sending import Sender
from infrafabric_server.chassis.halts import Halts
from infrafabric_server.chassis.modules import Modules
from infrafabric_server.chassis.recorder import Recorder
from infrafabric_server.chassis.runner import Runner
from infrafabric_server.chassis.runs import Runs
from infrafabric_server.chassis.scratch.scratch import Scratch
from infrafabric_server.chassis.turns import Turns
from infrafabric_server.chassis.upkeep import Upkeep
from infrafabric_server.chassis.workers import Workers
from infrafabric_server.clock import Clock
from infrafabric_server.coordinator.coordinator import Coordinator
from infrafabric_server.fleet.fleet import Fleet
from infrafabric_server.governor.breaker.breakers import Breakers
from infrafabric_server.governor.policy.book import PolicyBook


@dataclass(frozen=True, slots=True)
class ChassisParts:
    """A connected chassis and what must run for it.

    The server owns `runner.run` and `workers.rest`, and `upkeep.run` while it leads.
    """

    chassis: Chassis
    credentials: Credentials
    runner: Runner
    workers: Workers
    upkeep: Upkeep


def build_chassis(
    modules: Modules,
    contracts: Contracts,
    workers: Workers,
    credentials: Credentials,
    scratch: Scratch,
    recorder: Recorder,
    coordinator: Coordinator,
    breakers: Breakers,
    fleet: Fleet,
    policies: PolicyBook,
    clock: Clock,
    ttl: timedelta,
) -> ChassisParts:
    """Return the chassis over views that are declared; call before the mirror starts.

    The claims that the fabric makes for swarms live for `ttl` after their server is gone.
    """
    background = coordinator.background
    runs = Runs(modules, workers, policies, clock)
    turns = Turns(policies)
    chassis = Chassis(
        modules,
        contracts,
        workers,
        runs,
        turns,
        recorder,
        Halts(breakers.gate, breakers.records),
        background,
        policies,
        clock,
    )
    runner = Runner(
        coordinator.tasks,
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
    return ChassisParts(chassis, credentials, runner, workers, upkeep)
