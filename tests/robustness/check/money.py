"""Money as the log tells it: what was spent, what is reserved, and that no limit is passed.

A claim reserves what its task may cost, or `DEFAULT_COST`. A cost draws on the reservation of its
attempt; what is beyond it, or is of no attempt, nobody has covered before it was reported.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.robustness.check.violation import Violation
from tests.robustness.evidence import DEFAULT_COST, FABRIC, Entry, Evidence

# A replica hears of uncovered money within seconds, also when its store was away for some of
# them: what was reported longer before a claim than so many revisions, the claim has counted.
_IN_FLIGHT = 5000

_GIVEN = frozenset(("claim_won", "task_assigned"))
_ENDED = frozenset(
    (
        "claim_taken_back",
        "task_released",
        "task_failed",
        "task_cancelled",
        "task_deadline_passed",
    )
)


@dataclass(slots=True)
class Claim:
    """What a live claim may spend, and has spent."""

    swarm_id: str
    reserved: int
    drawn: int = 0

    @property
    def left(self) -> int:
        """What of the reservation may still be spent."""
        return max(0, self.reserved - self.drawn)


@dataclass(slots=True)
class Account:
    """An account; `uncovered` is what was spent out of no reservation, with the revision."""

    limit: int | None = None
    hourly: bool = False
    total: int = 0
    by_hour: Counter[str] = field(default_factory=Counter)
    uncovered: list[tuple[int, int]] = field(default_factory=list)

    def spend(self, entry: Entry, micros: int, uncovered: int) -> None:
        """Charge a cost, of which so much was not reserved."""
        self.total += micros
        self.by_hour[_hour(entry)] += micros
        if uncovered:
            self.uncovered.append((entry.revision, uncovered))

    def spent(self, entry: Entry) -> int:
        """Return what was spent in the period in which an entry was decided."""
        return self.by_hour[_hour(entry)] if self.hourly else self.total

    def surprise(self, entry: Entry) -> int:
        """Return what a claim may not have known of: reported just before it, out of nothing."""
        return sum(
            micros for revision, micros in self.uncovered if revision > entry.revision - _IN_FLIGHT
        )


def _hour(entry: Entry) -> str:
    return entry.decide_time[: len("2026-01-01T00")]


@dataclass(slots=True)
class Money:
    """What the log amounts to.

    Attributes:
        violations: entries that must not be as they are.
        accounts: by `swarm/<id>`, and that of the fabric.
        claims: those that live, by task.
    """

    violations: list[Violation] = field(default_factory=list)
    accounts: defaultdict[str, Account] = field(default_factory=lambda: defaultdict(Account))
    claims: dict[str, Claim] = field(default_factory=dict)

    def reserved(self, account: str) -> int:
        """Return what live claims may still spend out of an account."""
        return sum(
            claim.left
            for claim in self.claims.values()
            if account in (FABRIC, account_of(claim.swarm_id))
        )


def account_of(swarm_id: str) -> str:
    """Return the name of a swarm's account."""
    return f"swarm/{swarm_id}"


def follow(evidence: Evidence) -> Money:
    """Follow the money from the beginning of the log."""
    player = _Player(evidence)
    for entry in evidence.log:
        player.play(entry)
    return player.money


class _Player:
    def __init__(self, evidence: Evidence) -> None:
        self.money = Money()
        self._most = {
            task.task_id: task.max_cost_micros
            for task in evidence.tasks.values()
            if task.max_cost_micros is not None
        }
        self._task_limits: dict[str, int | None] = {}
        self._task_spent: Counter[str] = Counter()

    def play(self, entry: Entry) -> None:
        claims = self.money.claims
        if entry.operation in _GIVEN:
            self._given(entry)
        elif entry.operation in _ENDED:
            claims.pop(entry.task_id, None)
        elif entry.operation == "claim_taken_over" and entry.task_id in claims:
            claims[entry.task_id] = Claim(entry.swarm_id, claims[entry.task_id].left)
        elif entry.operation == "cost_tracked":
            self._tracked(entry)
        elif entry.operation == "task_completed":
            self._completed(entry)
        elif entry.operation == "budget_set":
            self._limited(entry)
        elif entry.operation == "breaker_reset":
            limit = entry.details["new_budget_micros"]
            if limit is not None:
                self.money.accounts[account_of(entry.swarm_id)].limit = int(limit)

    def _limited(self, entry: Entry) -> None:
        limit = entry.details["limit_micros"]
        if entry.task_id:
            self._task_limits[entry.task_id] = limit
            return
        account = self.money.accounts[str(entry.details["account"])]
        account.limit, account.hourly = limit, entry.details["period"] == "hour"

    def _given(self, entry: Entry) -> None:
        amount = self._most.get(entry.task_id, DEFAULT_COST)
        for name in (account_of(entry.swarm_id), FABRIC):
            account = self.money.accounts[name]
            if account.limit is None:
                continue
            spent, reserved = account.spent(entry), self.money.reserved(name)
            beyond = spent + reserved + amount - account.limit
            if beyond > account.surprise(entry):
                self._fault(
                    "limits-hold",
                    entry,
                    f"it reserves {amount} of {name}, which has spent {spent} and reserved "
                    f"{reserved} of {account.limit}, {account.surprise(entry)} unforeseen",
                )
        limit, spent = self._task_limits.get(entry.task_id), self._task_spent[entry.task_id]
        if limit is not None and spent + amount > limit:
            why = f"it reserves {amount}, and all attempts may spend {limit} and have spent {spent}"
            self._fault("limits-hold", entry, why)
        self.money.claims[entry.task_id] = Claim(entry.swarm_id, amount)

    def _tracked(self, entry: Entry) -> None:
        micros, claim = int(entry.details["cost_micros"]), self.money.claims.get(entry.task_id)
        if not entry.task_id:
            self._spend(entry, micros, micros)
        elif claim is not None:
            self._draw(entry, claim, micros)
            told = (int(entry.details["drawn_micros"]), int(entry.details["reserved_micros"]))
            if told != (claim.drawn, claim.reserved):
                why = f"the attempt has spent {claim.drawn} of {claim.reserved}, and not {told}"
                self._fault("money-adds-up", entry, why)

    def _completed(self, entry: Entry) -> None:
        claim = self.money.claims.pop(entry.task_id, None)
        if claim is None:
            return
        charged, cost = int(entry.details["charged_micros"]), int(entry.details["cost_micros"])
        if charged < 0 or charged != cost - claim.drawn:
            why = f"of {cost} it charges {charged}, and {claim.drawn} were charged before"
            self._fault("money-adds-up", entry, why)
        self._draw(entry, claim, charged)

    def _draw(self, entry: Entry, claim: Claim, micros: int) -> None:
        self._spend(entry, micros, max(0, micros - claim.left))
        self._task_spent[entry.task_id] += micros
        claim.drawn += micros

    def _spend(self, entry: Entry, micros: int, uncovered: int) -> None:
        for name in (account_of(entry.swarm_id), FABRIC):
            self.money.accounts[name].spend(entry, micros, uncovered)

    def _fault(self, check: str, entry: Entry, why: str) -> None:
        text = f"entry {entry.sequence}: {entry.operation} {entry.task_id}, but {why}"
        self.money.violations.append(Violation(check, text, entry.task_id, entry.swarm_id))


def reports(evidence: Evidence, money: Money) -> Iterator[Violation]:
    """What the fabric reports is what the log adds up to; nothing is reserved for nobody."""
    told = {name: micros for name, micros in evidence.reported.items() if micros}
    sums = {name: account.total for name, account in money.accounts.items() if account.total}
    if told != sums:
        for name in sorted(told.keys() | sums.keys()):
            if told.get(name) != sums.get(name):
                text = f"the costs of {name} are reported as {told.get(name, 0)}"
                yield _unlike(name, f"{text}, and the log has {sums.get(name, 0)}")
    for name, account in evidence.accounts.items():
        known, reserved = money.accounts[name], money.reserved(name)
        if (account.total, account.limit) != (known.total, known.limit):
            there = f"{name} has spent {account.total} with the limit {account.limit}"
            yield _unlike(name, f"{there}, and the log says {known.total} and {known.limit}")
        if account.reserved != reserved:
            text = f"{name} has reserved {account.reserved}, and its live claims {reserved}"
            yield Violation("reservations-have-claims", text, swarm_id=_swarm(name))


def _unlike(name: str, text: str) -> Violation:
    return Violation("reports-are-the-log", text, swarm_id=_swarm(name))


def _swarm(account: str) -> str:
    return account.partition("/")[2]
