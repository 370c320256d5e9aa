"""When money may be reserved, as pure functions of an account's numbers (micro-US-dollars)."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from infrafabric_server.governor.money import usd


@dataclass(frozen=True, slots=True)
class BudgetFacts:
    """An account's numbers; `account` is `swarm/<id>`, `task/<id>` or `fabric`.

    A limit of None is none. What is reserved is what live claims, and claims that are being
    written, may still spend.
    """

    account: str
    limit_micros: int | None
    spent_micros: int
    reserved_micros: int

    @property
    def available_micros(self) -> int | None:
        """What may still be reserved, below 0 after an overrun; None without a limit."""
        if self.limit_micros is None:
            return None
        return self.limit_micros - self.spent_micros - self.reserved_micros

    def covers(self, amount_micros: int) -> bool:
        """Tell whether so much may be reserved: it must be there, and something must be."""
        available = self.available_micros
        return available is None or (available > 0 and available >= amount_micros)


class BudgetState(StrEnum):
    """What an account's numbers come to."""

    UNLIMITED = "unlimited"
    OPEN = "open"
    WARNING = "warning"
    EXHAUSTED = "exhausted"


def state(facts: BudgetFacts, soft_share: float) -> BudgetState:
    """Return the state of an account; it warns from `soft_share` of its limit on."""
    if facts.limit_micros is None:
        return BudgetState.UNLIMITED
    if facts.spent_micros >= facts.limit_micros:
        return BudgetState.EXHAUSTED
    used = facts.spent_micros + facts.reserved_micros
    return BudgetState.WARNING if used >= soft_share * facts.limit_micros else BudgetState.OPEN


def short(accounts: Iterable[BudgetFacts], amount_micros: int) -> BudgetFacts | None:
    """Return the first account that does not cover an amount, None when all do."""
    return next((facts for facts in accounts if not facts.covers(amount_micros)), None)


def explain(facts: BudgetFacts, amount_micros: int) -> str:
    """Return why an account does not cover an amount, with its numbers; it has a limit."""
    available, limit = facts.available_micros or 0, facts.limit_micros or 0
    return (
        f"the claim asks for {usd(amount_micros)}, and account {facts.account} has "
        f"{usd(available)} available: limit {usd(limit)}, spent {usd(facts.spent_micros)}, "
        f"reserved {usd(facts.reserved_micros)}"
    )
