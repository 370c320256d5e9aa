"""Connects what the use cases of the coordinator share: tasks, sessions, money and free slots."""

from dataclasses import dataclass

from infrafabric_server.coordinator.admission import Admission, counter
from infrafabric_server.coordinator.attendance import Attendance
from infrafabric_server.coordinator.background import Background
from infrafabric_server.coordinator.capacity import Capacity
from infrafabric_server.coordinator.doubts import Doubts
from infrafabric_server.coordinator.help.build import Help
from infrafabric_server.coordinator.help.involved import Involved
from infrafabric_server.coordinator.link import Links
from infrafabric_server.coordinator.records import Records
from infrafabric_server.coordinator.scheduler import Scheduler
from infrafabric_server.coordinator.settlement import Outcomes, Settlement
from infrafabric_server.coordinator.shortages import Shortages
from infrafabric_server.coordinator.slots import Slots
from infrafabric_server.coordinator.timers import Timers
from infrafabric_server.coordinator.unassigned import Unassigned
from infrafabric_server.fleet.presence import Presence
from infrafabric_server.foundation import Foundation
from infrafabric_server.governor.budget.accounts import Accounts
from infrafabric_server.governor.budget.shares import Shares
from infrafabric_server.governor.build import Controls
from infrafabric_server.governor.gate import Gate, Judge
from infrafabric_server.governor.reputation import Reputations
from infrafabric_server.governor.roster import Roster
from infrafabric_server.governor.screening import Screening


@dataclass(frozen=True, slots=True)
class Governing:
    """What claims are admitted by, and which swarms go first.

    `gate` keeps all work from a swarm and `judge` a task: in a server, they are the breakers and
    the policy of `controls`. `reputations` rank swarms by the `outcomes` of their attempts.
    `present` tells which replicas share the fabric's budget; None where there are no others.
    """

    controls: Controls
    gate: Gate
    judge: Judge | None
    reputations: Reputations
    outcomes: Outcomes
    present: Presence | None = None


@dataclass(frozen=True, slots=True)
class Core:
    """What the use cases of the coordinator share; made by `over`."""

    base: Foundation
    governing: Governing
    attendance: Attendance
    records: Records
    links: Links
    timers: Timers
    background: Background
    accounts: Accounts
    shortages: Shortages
    shares: Shares | None
    capacity: Capacity
    scheduler: Scheduler
    screening: Screening
    slots: Slots
    unassigned: Unassigned
    settlement: Settlement
    help: Help

    @classmethod
    def over(
        cls,
        base: Foundation,
        governing: Governing,
        roster: Roster,
        attendance: Attendance,
        *,
        lease_seconds: float,
    ) -> "Core":
        """Connect the parts, before the mirror starts."""
        fleet, clock, gate = base.fleet, base.clock, governing.gate
        policies, ledger = governing.controls.policies, governing.controls.ledger
        records = Records(base.store, base.mirror, fleet, base.outbox, clock)
        links, involved = Links(), Involved(records.help)
        timers, background = Timers(clock), Background()
        accounts = Accounts(ledger, clock)
        records.tasks.count(counter(accounts))
        shortages = Shortages(ledger, accounts, timers, clock)
        admission = Admission(fleet, ledger, accounts, policies, gate, governing.judge, shortages)
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
        scheduler = Scheduler(fleet, records.tasks, capacity, admission, base.leadership, policies)
        screening = Screening(fleet.swarms, gate, accounts, policies, capacity)
        doubts = Doubts(base.mirror, accounts, timers, background)
        shares = _shares(base, governing, accounts, background)
        replica = base.replica
        return cls(
            base=base,
            governing=governing,
            attendance=attendance,
            records=records,
            links=links,
            timers=timers,
            background=background,
            accounts=accounts,
            shortages=shortages,
            shares=shares,
            capacity=capacity,
            scheduler=scheduler,
            screening=screening,
            slots=Slots(records, capacity, admission, accounts, doubts.note, replica, shares),
            unassigned=Unassigned(capacity, scheduler, admission, screening, policies),
            settlement=Settlement(
                *(ledger, accounts, fleet, roster, policies, clock), governing.outcomes
            ),
            help=Help.over(
                *(records, involved, links, roster, gate, policies),
                replica=replica,
                lease_seconds=lease_seconds,
            ),
        )


def _shares(
    base: Foundation, governing: Governing, accounts: Accounts, background: Background
) -> Shares | None:
    if governing.present is None:
        return None
    return Shares(
        base.mirror,
        governing.controls.ledger,
        accounts,
        governing.present,
        background.spawn,
        replica=base.replica,
    )
