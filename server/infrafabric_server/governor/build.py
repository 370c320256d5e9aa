"""Connects the parts of the governor; every part gets what it needs, and nothing else.

The coordinator stands between the two steps: it is built over the controls, and the rest of the
governor asks it what swarms are busy with and what tasks have cost.
"""

from dataclasses import dataclass

from infrafabric_server.foundation import Foundation
from infrafabric_server.governor.breaker.breakers import Breakers
from infrafabric_server.governor.breaker.keeper import Keeper
from infrafabric_server.governor.budget.accounts import Accounts
from infrafabric_server.governor.budget.budgets import Budgets
from infrafabric_server.governor.budget.ports import TaskMoney
from infrafabric_server.governor.former import Former
from infrafabric_server.governor.governor import Governor
from infrafabric_server.governor.policy.book import PolicyBook
from infrafabric_server.governor.reputation import Reputations
from infrafabric_server.governor.roster import Roster
from infrafabric_server.governor.screening import Screening
from infrafabric_server.optimise.ledger import Ledger
from infrafabric_server.optimise.reports import CostReports
from infrafabric_server.optimise.roller import Roller, Settle
from infrafabric_server.optimise.rollup_store import Rollups


@dataclass(frozen=True, slots=True)
class Controls:
    """What every assignment is checked against: the policy, the costs and the breakers."""

    policies: PolicyBook
    ledger: Ledger
    breakers: Breakers

    @classmethod
    def over(cls, base: Foundation, policies: PolicyBook) -> "Controls":
        """Connect them, before the mirror starts."""
        ledger = Ledger(base.mirror, base.clock, replica=base.replica)
        breakers = Breakers.over(base.mirror, base.fleet, ledger, base.outbox, base.clock, policies)
        return cls(policies, ledger, breakers)


@dataclass(frozen=True, slots=True)
class GovernorParts:
    """A connected governor and what must run for it.

    The server owns `roller.run`, and those of `breaker_keeper` and `former` while it leads.
    """

    governor: Governor
    breakers: Breakers
    budgets: Budgets
    cost_reports: CostReports
    breaker_keeper: Keeper
    former: Former
    roller: Roller


def build_governor(
    base: Foundation,
    controls: Controls,
    roster: Roster,
    reputations: Reputations,
    screening: Screening,
    accounts: Accounts,
    tasks: TaskMoney,
    settle: Settle,
) -> GovernorParts:
    """Return the governor over the coordinator's parts; call before the mirror starts.

    Args:
        base: What every component is built on.
        controls: What the coordinator was built over.
        roster: The index of swarms, which the coordinator searches too.
        reputations: What swarms are ranked by.
        screening: Tells why a swarm may not be given a task now.
        accounts: What is reserved and spent.
        tasks: Charges a cost to a task.
        settle: Gives back to the shared accounts what this replica holds and does not need.
    """
    mirror, fleet, clock = base.mirror, base.fleet, base.clock
    policies, ledger, breakers = controls.policies, controls.ledger, controls.breakers
    records, swarms, outbox = breakers.records, fleet.swarms, base.outbox
    rollups = Rollups(base.store, ledger.costs)
    return GovernorParts(
        governor=Governor(swarms, roster, screening, policies, reputations),
        breakers=breakers,
        budgets=Budgets(mirror, ledger, accounts, tasks, records, swarms, policies, outbox, clock),
        cost_reports=CostReports(rollups),
        breaker_keeper=Keeper(mirror, fleet, ledger, breakers, base.leadership, clock, policies),
        former=Former(mirror, fleet, ledger, records, outbox, base.leadership, clock),
        roller=Roller(mirror, ledger, rollups, base.leadership, clock, settle=settle),
    )
