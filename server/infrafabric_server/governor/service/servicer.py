"""GovernorService."""

from infrafabric_server.edge.calls import Finish
from infrafabric_server.governor.breaker.breakers import Breakers
from infrafabric_server.governor.budget.budgets import Budgets
from infrafabric_server.governor.escalation.desk import Desk
from infrafabric_server.governor.governor import IFGovernor
from infrafabric_server.governor.help.ports import IFHelp
from infrafabric_server.governor.policy.agreement import Agreement
from infrafabric_server.governor.policy.file import PolicyFile
from infrafabric_server.governor.service.breakers import BreakerCalls
from infrafabric_server.governor.service.budgets import BudgetCalls
from infrafabric_server.governor.service.costs import CostCalls
from infrafabric_server.governor.service.escalations import EscalationCalls
from infrafabric_server.governor.service.help import HelpCalls
from infrafabric_server.governor.service.matching import MatchingCalls
from infrafabric_server.governor.service.policy import PolicyCalls
from infrafabric_server.optimise.reports import CostReports
from infrafabric_server.store.feed import Feed


class GovernorServicer(
    MatchingCalls, BudgetCalls, CostCalls, BreakerCalls, HelpCalls, EscalationCalls, PolicyCalls
):
    """All calls of the governor."""

    def __init__(
        self,
        governor: IFGovernor,
        budgets: Budgets,
        cost_reports: CostReports,
        desk: Desk,
        escalation_feed: Feed,
        *,
        breakers: Breakers,
        policy: PolicyFile,
        agreement: Agreement,
        help_requests: IFHelp,
        finish: Finish,
    ) -> None:
        """Take what answers the calls, and `finish`, which runs what changes something."""
        self.finish = finish
        self.help = help_requests
        self.breakers = breakers
        self.policy = policy
        self.agreement = agreement
        self.governor = governor
        self.budgets = budgets
        self.cost_reports = cost_reports
        self.desk = desk
        self.escalation_feed = escalation_feed
