"""What in the governor needs a person: open breakers, holds, calls for help, spent budgets."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from infrafabric_server.clock import Clock
from infrafabric_server.governor.breaker.models import Breaker
from infrafabric_server.governor.budget.rules import BudgetFacts, BudgetState, state
from infrafabric_server.governor.escalation.models import Cause, Kind
from infrafabric_server.governor.help.models import HelpRequest, HelpState, Urgency
from infrafabric_server.governor.money import usd
from infrafabric_server.governor.policy.book import PolicyBook
from infrafabric_server.optimise.ledger import Ledger, zone_of
from infrafabric_server.optimise.models import FABRIC
from infrafabric_server.optimise.periods import period_at

# What the ids of escalations begin with.
BREAKERS = f"{Kind.BREAKER}:"
HOLDS = f"{Kind.HOLD}:"
BUDGETS = f"{Kind.BUDGET}:"
HELP = f"{Kind.HELP}:"

_EVER = datetime(1970, 1, 1, tzinfo=UTC)


def breaker_cause(breaker: Breaker) -> Cause | None:
    """Return why an open breaker or hold needs a person; None for a closed one.

    Summaries tell what happened, as an escalation keeps its own when it is over.
    """
    if not breaker.open:
        return None
    swarm_id = breaker.swarm_id
    held = "all work was put on hold"
    what = f"the circuit breaker of swarm {swarm_id} opened" if swarm_id else held
    return Cause(
        kind=Kind.BREAKER if swarm_id else Kind.HOLD,
        subject=swarm_id or FABRIC,
        since=breaker.open_time or _EVER,
        summary=f"{what}: {breaker.detail}" if breaker.detail else what,
        swarm_id=swarm_id,
    )


def help_cause(request: HelpRequest) -> Cause | None:
    """Return why a request for help needs a person: nobody fits, or it is critical."""
    unqualified = request.state is HelpState.UNQUALIFIED
    if request.ended or not (unqualified or request.urgency is Urgency.CRITICAL):
        return None
    asked = f"swarm {request.swarm_id} asked for help on task {request.task_id}"
    nobody = f"; nobody idle covered {', '.join(sorted(request.needs))}" if unqualified else ""
    return Cause(
        kind=Kind.HELP,
        subject=request.help_id,
        since=request.create_time,
        summary=f"{asked} ({request.urgency}){nobody}: {request.reason}",
        swarm_id=request.swarm_id,
        task_id=request.task_id,
    )


class BudgetSource:
    """The accounts that have spent their soft share, over the ledger."""

    prefix = BUDGETS

    def __init__(self, ledger: Ledger, policies: PolicyBook, clock: Clock) -> None:
        self._ledger = ledger
        self._policies = policies
        self._clock = clock

    def ids(self) -> Iterable[str]:
        """See Source."""
        for account in self._ledger.budgets:
            if self.cause(BUDGETS + account) is not None:
                yield BUDGETS + account

    def cause(self, escalation_id: str) -> Cause | None:
        """See Source. What is reserved does not count: it comes and goes with each claim."""
        account = escalation_id.removeprefix(BUDGETS)
        budget = self._ledger.budget(account)
        if budget is None or not budget.limit_micros:
            return None
        now = self._clock.now()
        spent = self._ledger.spent(account, now)
        share = budget.soft_share or self._policies.current.policy.budgets.soft_share
        stands = state(BudgetFacts(account, budget.limit_micros, spent, 0), share)
        if stands not in (BudgetState.WARNING, BudgetState.EXHAUSTED):
            return None
        begin, end = _EVER, None
        if budget.period is not None:
            begin, end = period_at(budget.period, now, zone_of(budget))
        used = "used up" if stands is BudgetState.EXHAUSTED else f"used to {share * 100:g} %"
        owner = "the fabric" if account == FABRIC else account.replace("/", " ", 1)
        return Cause(
            kind=Kind.BUDGET,
            subject=account,
            since=begin,
            # No figure that changes with each cost: each new text is sent to people again.
            summary=f"the budget of {owner} was {used}: {usd(budget.limit_micros)}",
            swarm_id="" if account == FABRIC else account.partition("/")[2],
            until=end,
        )

    def follow(self, changed: Callable[[str], None]) -> None:
        """See Source."""

        def listen(account: str) -> None:
            if self._ledger.budget(account) is not None:
                changed(BUDGETS + account)

        self._ledger.subscribe(listen)
