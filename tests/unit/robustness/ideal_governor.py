"""The governor of the ideal fabric: money, breakers, help and escalations, in dictionaries."""

from collections import Counter
from dataclasses import dataclass, field

from tests.robustness.evidence import DEFAULT_COST, FABRIC, FinalAccount
from tests.unit.robustness.ideal import IdealFabric, Work

MOST_HELPERS = 2
HOLD = ""


@dataclass(slots=True)
class Claim:
    """What a live claim may spend and has spent."""

    swarm_id: str
    reserved: int
    drawn: int = 0

    @property
    def left(self) -> int:
        """What is left of the reservation."""
        return max(0, self.reserved - self.drawn)


@dataclass(slots=True)
class Call:
    """A live request for help."""

    help_id: str
    work: Work
    budget: int
    helpers: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    drawn: int = 0

    @property
    def places(self) -> int:
        """How many more may be asked."""
        return MOST_HELPERS - len(self.helpers) - len(self.asked)


@dataclass(slots=True)
class IdealGovernor:
    """Says who may be given work, and follows what becomes of it."""

    fabric: IdealFabric
    claims: dict[str, Claim] = field(default_factory=dict)
    limits: dict[str, int | None] = field(default_factory=dict)
    spent: Counter[str] = field(default_factory=Counter)
    open: set[str] = field(default_factory=set)
    calls: dict[str, Call] = field(default_factory=dict)
    ended_calls: set[str] = field(default_factory=set)
    records: dict[str, tuple[str, int]] = field(default_factory=dict)

    def may(self, swarm_id: str, work: Work) -> bool:
        """Tell whether the swarm may be given the task."""
        if {HOLD, swarm_id} & self.open:
            return False
        amount = DEFAULT_COST if work.max_cost is None else work.max_cost
        for account in (swarm_id, FABRIC):
            limit = self.limits.get(account)
            if limit is not None and self.used(account) + amount > limit:
                return False
        return True

    def used(self, account: str) -> int:
        """Return what is spent and reserved."""
        reserved = (c.left for c in self.claims.values() if account in (FABRIC, c.swarm_id))
        return self.spent[account] + sum(reserved)

    def given(self, work: Work) -> None:
        """A claim begins."""
        amount = DEFAULT_COST if work.max_cost is None else work.max_cost
        self.claims[work.task_id] = Claim(work.owner, amount)

    def taken_over(self, work: Work) -> None:
        """A new process of the swarm goes on with what is left."""
        self.claims[work.task_id] = Claim(work.owner, self.claims[work.task_id].left)
        self.end_help(work)

    def charge(self, swarm_id: str, micros: int) -> None:
        """Money is spent."""
        self.spent[swarm_id] += micros
        self.spent[FABRIC] += micros

    def draw(self, work: Work, micros: int) -> dict[str, object]:
        """Money is spent for a claim; return what its entry says of the claim."""
        claim = self.claims[work.task_id]
        claim.drawn += micros
        self.charge(claim.swarm_id, micros)
        return {"drawn_micros": claim.drawn, "reserved_micros": claim.reserved}

    def completed(self, work: Work) -> dict[str, int]:
        """The claim ends with its cost; return what is charged."""
        claim = self.claims.pop(work.task_id)
        charged = work.cost - claim.drawn
        self.charge(claim.swarm_id, charged)
        return {"cost_micros": work.cost, "charged_micros": charged}

    def end(self, work: Work) -> None:
        """A claim ends in any other way, if there is one; its help ends with it."""
        self.claims.pop(work.task_id, None)
        self.end_help(work)

    def end_help(self, work: Work) -> None:
        """The blocker or the claim is over."""
        call = self.calls.pop(work.task_id, None)
        if call is not None:
            self.ended_calls.add(call.help_id)
            details = {"help_id": call.help_id, "helpers": list(call.helpers), "cause": "over"}
            self.fabric.decide(
                "help_ended",
                swarm_id=call.work.owner,
                task_id=work.task_id,
                attempt=work.attempt,
                details=details,
            )
            self.over(f"help:{call.help_id}")

    def trip(self, scope: str, cause: str, detail: str) -> None:
        """A breaker opens, and with it an escalation."""
        self.open.add(scope)
        operation = "breaker_opened" if scope else "hold_opened"
        self.fabric.decide(operation, swarm_id=scope, details={"cause": cause, "detail": detail})
        self.escalate(f"breaker:{scope}" if scope else "hold:fabric")

    def reset(self, scope: str, reason: str) -> None:
        """A person closes a breaker."""
        details = {"approver": "Ann", "reason": reason, "was_open": scope in self.open}
        self.open.discard(scope)
        operation = "breaker_reset" if scope else "hold_reset"
        self.fabric.decide(
            operation, swarm_id=scope, details={**details, "new_budget_micros": None}
        )
        self.over(f"breaker:{scope}" if scope else "hold:fabric")

    def escalate(self, about: str) -> None:
        """An incident begins."""
        self.records[about] = ("OPEN", 1)
        self.tell("escalation_opened", about)

    def over(self, about: str) -> None:
        """An incident is over, if there is one."""
        how, level = self.records.get(about, ("CLOSED", 0))
        if how != "CLOSED":
            self.records[about] = ("CLOSED", level)
            self.tell("escalation_closed", about)

    def tell(self, operation: str, about: str, **more: object) -> None:
        """Add the entry of a change of an escalation."""
        details = {"escalation_id": about, "level": self.records[about][1], **more}
        self.fabric.decide(operation, details=details)

    def accounts(self) -> dict[str, FinalAccount]:
        """Return the accounts as the fabric shows them."""
        return {
            account if account == FABRIC else f"swarm/{account}": FinalAccount(
                self.spent[account],
                self.used(account) - self.spent[account],
                self.limits.get(account),
            )
            for account in {*self.spent, *self.limits}
        }
