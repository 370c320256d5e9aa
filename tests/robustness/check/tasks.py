"""The life of one task as the log may tell it: what must hold before an entry, and what follows.

This is the contract's own diagram of states, written down a second time: nothing here is taken
from the server.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from tests.robustness.evidence import PROVIDERS, Entry

BLOCKED = "BLOCKED"
AVAILABLE = "AVAILABLE"
CLAIMED = "CLAIMED"
COMPLETED = "COMPLETED"
FAILED = "FAILED"
CANCELLED = "CANCELLED"
ENDED = frozenset((COMPLETED, FAILED, CANCELLED))


class IllegalError(Exception):
    """The entry cannot follow what the log tells before it; the text says why."""


@dataclass(frozen=True, slots=True)
class Life:
    """A task after some entry.

    Attributes:
        state: where it is in its life.
        attempt: number of the newest claim.
        owner: who holds it, or held it last.
        parked: whether the claim takes no slot.
        offered: the only swarm that may claim it.
        milestone: the last one reported.
        failures: how often a holder failed.
        cost_micros: what the completion said.
    """

    state: str
    attempt: int = 0
    owner: str = ""
    parked: bool = False
    offered: str = ""
    milestone: int = 0
    failures: int = 0
    cost_micros: int = 0

    @property
    def holder(self) -> str:
        """Who holds it now."""
        return self.owner if self.state == CLAIMED else ""

    @property
    def shown_owner(self) -> str:
        """Who is shown as its owner: after the end, the one that held it last."""
        return self.owner if self.state in ENDED else self.holder


def _require(holds: bool, why: str) -> None:
    if not holds:
        raise IllegalError(why)


def _held(life: Life, entry: Entry) -> None:
    _require(life.state == CLAIMED, f"the task is {life.state}, held by nobody")
    _require(
        (entry.swarm_id, entry.attempt) == (life.owner, life.attempt),
        f"{life.owner} holds it under attempt {life.attempt}",
    )


def _assigned(life: Life, entry: Entry) -> Life:
    # A task that finds a free swarm as soon as it may start is never written as available.
    return _given(replace(life, state=AVAILABLE) if life.state == BLOCKED else life, entry)


def _given(life: Life, entry: Entry) -> Life:
    _require(life.state == AVAILABLE, f"the task is {life.state}, not available")
    _require(entry.attempt == life.attempt + 1, f"the attempt before was {life.attempt}")
    _require(life.offered in ("", entry.swarm_id), f"it is on offer to {life.offered} alone")
    return replace(
        life,
        state=CLAIMED,
        attempt=entry.attempt,
        owner=entry.swarm_id,
        parked=False,
        offered="",
    )


def _taken_over(life: Life, entry: Entry) -> Life:
    _require(life.holder == entry.swarm_id, f"the task is held by {life.holder or 'nobody'}")
    _require(entry.attempt == life.attempt + 1, f"the attempt before was {life.attempt}")
    return replace(life, attempt=entry.attempt)


def _kept(life: Life, entry: Entry) -> Life:
    _held(life, entry)
    return life


def _lives(life: Life, _: Entry) -> Life:
    _require(life.state not in ENDED, f"the task is {life.state} already")
    return life


def _progress(life: Life, entry: Entry) -> Life:
    _held(life, entry)
    return replace(life, milestone=int(entry.details["milestone_percent"]))


def _given_back(life: Life, entry: Entry) -> Life:
    _held(life, entry)
    return replace(life, state=AVAILABLE, parked=False)


def _completed(life: Life, entry: Entry) -> Life:
    _held(life, entry)
    cost = int(entry.details["cost_micros"])
    return replace(life, state=COMPLETED, parked=False, milestone=100, cost_micros=cost)


def _failed(life: Life, entry: Entry) -> Life:
    _held(life, entry)
    state = str(entry.details["state"]).upper()
    providers = str(entry.details["reason"]).startswith(PROVIDERS)
    _require(state in (AVAILABLE, FAILED), f"a failure does not lead to {state}")
    _require(state == AVAILABLE or not providers, "a failure of the provider is not the task's")
    return replace(life, state=state, parked=False, failures=life.failures + (not providers))


def _ended(state: str) -> Callable[[Life, Entry], Life]:
    def follow(life: Life, entry: Entry) -> Life:
        return replace(_lives(life, entry), state=state, parked=False, offered="")

    return follow


def _unblocked(life: Life, _: Entry) -> Life:
    _require(life.state == BLOCKED, f"the task is {life.state}, not blocked")
    return replace(life, state=AVAILABLE)


def _waiting(life: Life, _: Entry) -> Life:
    _require(life.state == AVAILABLE, f"the task is {life.state}, not available")
    return life


def _pushed(life: Life, entry: Entry) -> Life:
    return replace(_waiting(life, entry), offered=entry.swarm_id)


def _broadcast(life: Life, entry: Entry) -> Life:
    return replace(_waiting(life, entry), offered="")


def _withdrawn(life: Life, entry: Entry) -> Life:
    _require(life.offered == entry.swarm_id, f"it is on offer to {life.offered or 'nobody'}")
    return replace(life, offered="")


def _parked(life: Life, entry: Entry) -> Life:
    _held(life, entry)
    return replace(life, parked=True)


def _resolved(life: Life, entry: Entry) -> Life:
    _require(life.holder == entry.swarm_id, f"the task is held by {life.holder or 'nobody'}")
    _require(life.parked, "the claim is not parked")
    return replace(life, parked=False)


# What each entry about a task makes of it.
RULES: dict[str, Callable[[Life, Entry], Life]] = {
    "claim_won": _given,
    "task_assigned": _assigned,
    "claim_taken_over": _taken_over,
    "claim_extended": _kept,
    "progress_reported": _progress,
    "claim_taken_back": _given_back,
    "task_released": _given_back,
    "task_completed": _completed,
    "task_failed": _failed,
    "task_cancelled": _ended(CANCELLED),
    "task_deadline_passed": _ended(FAILED),
    "task_unblocked": _unblocked,
    "task_retried": _waiting,
    "task_pushed": _pushed,
    "task_broadcast": _broadcast,
    "offer_withdrawn": _withdrawn,
    "blocker_reported": _parked,
    "blocker_resolved": _resolved,
    "cost_tracked": _kept,
    "budget_set": _lives,
}
