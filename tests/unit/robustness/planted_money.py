"""Faults in what is spent, reserved and limited."""

import random
from dataclasses import replace

from tests.robustness.evidence import FABRIC, Entry, Evidence, FinalAccount
from tests.robustness.history import Outcome
from tests.unit.robustness.planting import (
    Plant,
    acknowledged,
    after,
    changed,
    entry,
    entry_of,
    grant,
    into,
    one,
    put_log,
    without,
)

PLANTS: list[Plant] = []
planted = into(PLANTS)


@planted
def acknowledged_cost_that_is_lost(evidence: Evidence, chance: random.Random) -> str:
    without(evidence, entry_of(evidence, acknowledged(evidence, chance, "cost")))
    return "acknowledged-is-kept"


@planted
def cost_that_is_charged_twice(evidence: Evidence, chance: random.Random) -> str:
    found = one((e for e in evidence.entries("cost_tracked") if not e.task_id), chance)
    after(evidence, found, replace(found, entry_id="planted"))
    return "effect-once"


@planted
def refused_cost_that_is_charged(evidence: Evidence, chance: random.Random) -> str:
    refused = one((op for op in evidence.of_kind("cost") if op.outcome is Outcome.REFUSED), chance)
    found = entry(evidence, chance, "cost_tracked")
    details = {"operation": refused.tag, "cost_micros": refused.fields["micros"]}
    planted = replace(found, swarm_id=refused.swarm_id, task_id="", attempt=0, details=details)
    after(evidence, found, replace(planted, entry_id="planted"))
    return "refused-has-no-effect"


@planted
def cost_that_nobody_reported(evidence: Evidence, chance: random.Random) -> str:
    found = entry(evidence, chance, "cost_tracked")
    changed(evidence, found, operation="op-unasked")
    return "every-entry-has-a-cause"


@planted
def cost_of_another_amount(evidence: Evidence, chance: random.Random) -> str:
    found = entry_of(evidence, acknowledged(evidence, chance, "cost"))
    changed(evidence, found, cost_micros=found.details["cost_micros"] + 1)
    return "effect-as-asked"


@planted
def cost_for_a_claim_that_is_over(evidence: Evidence, chance: random.Random) -> str:
    cost = one((e for e in evidence.entries("cost_tracked") if e.task_id), chance)
    end = next(
        e for e in evidence.log
        if e.sequence > cost.sequence and e.task_id == cost.task_id
        and e.operation in ("task_completed", "task_cancelled", "task_failed", "task_released",
                            "claim_taken_back", "claim_taken_over")
    )  # fmt: skip
    log = [each for each in evidence.log if each is not cost]
    log.insert(log.index(end) + 1, replace(cost, revision=end.revision))
    put_log(evidence, log)
    return "legal-transitions"


@planted
def helpers_cost_that_is_lost(evidence: Evidence, chance: random.Random) -> str:
    lost = acknowledged(evidence, chance, "help-cost").tag
    put_log(evidence, [e for e in evidence.log if e.details.get("operation") != lost])
    return "acknowledged-is-kept"


@planted
def helpers_cost_that_is_charged_in_part(evidence: Evidence, chance: random.Random) -> str:
    found = one((e for e in evidence.entries("cost_tracked") if "help_id" in e.details), chance)
    changed(evidence, found, cost_micros=found.details["cost_micros"] + 1)
    return "effect-as-asked"


@planted
def helpers_cost_beyond_the_budget(evidence: Evidence, chance: random.Random) -> str:
    paid = [e for e in evidence.entries("cost_tracked") if "help_id" in e.details and e.task_id]
    help_id = one(paid, chance).details["help_id"]
    asked = next(e for e in evidence.entries("help_requested") if e.details["help_id"] == help_id)
    changed(evidence, asked, budget_micros=0)
    return "help-within-its-budget"


@planted
def report_that_forgets_a_cost(evidence: Evidence, chance: random.Random) -> str:
    name = one(evidence.reported, chance)
    evidence.reported[name] -= 1
    return "reports-are-the-log"


@planted
def account_that_counts_twice(evidence: Evidence, chance: random.Random) -> str:
    name = one(evidence.accounts, chance)
    evidence.accounts[name] = replace(evidence.accounts[name], total=10**9)
    return "reports-are-the-log"


@planted
def limit_that_was_forgotten(evidence: Evidence, chance: random.Random) -> str:
    name = one(evidence.accounts, chance)
    evidence.accounts[name] = replace(evidence.accounts[name], limit=17)
    return "reports-are-the-log"


@planted
def reservation_without_a_claim(evidence: Evidence, chance: random.Random) -> str:
    name = one(evidence.accounts, chance)
    account = evidence.accounts[name]
    evidence.accounts[name] = FinalAccount(account.total, 300_000, account.limit)
    return "reservations-have-claims"


def limited(evidence: Evidence, found: Entry, **details: object) -> None:
    """Let a limit be set that does not cover the grant, just before it."""
    set_ = replace(
        found,
        operation="budget_set",
        task_id="",
        attempt=0,
        entry_id="planted",
        details={"limit_micros": 99_999, "period": None, **details},
    )
    place = evidence.log.index(found)
    put_log(evidence, [*evidence.log[:place], set_, *evidence.log[place:]])


@planted
def claim_that_a_swarms_limit_does_not_cover(evidence: Evidence, chance: random.Random) -> str:
    found = grant(evidence, chance)
    limited(evidence, found, account=f"swarm/{found.swarm_id}")
    return "limits-hold"


@planted
def claim_that_the_fabrics_limit_does_not_cover(evidence: Evidence, chance: random.Random) -> str:
    limited(evidence, grant(evidence, chance), account=FABRIC)
    return "limits-hold"


@planted
def claim_that_the_tasks_limit_does_not_cover(evidence: Evidence, chance: random.Random) -> str:
    found = grant(evidence, chance)
    set_ = replace(
        found,
        operation="budget_set",
        swarm_id="",
        attempt=0,
        entry_id="planted",
        details={"limit_micros": 99_999},
    )
    place = evidence.log.index(found)
    put_log(evidence, [*evidence.log[:place], set_, *evidence.log[place:]])
    return "limits-hold"


@planted
def completion_that_charges_all_again(evidence: Evidence, chance: random.Random) -> str:
    done = one(
        (
            e
            for e in evidence.entries("task_completed")
            if e.details["cost_micros"] != e.details["charged_micros"]
        ),
        chance,
    )
    changed(evidence, done, charged_micros=done.details["cost_micros"])
    return "money-adds-up"


@planted
def reservation_that_grows(evidence: Evidence, chance: random.Random) -> str:
    cost = one((e for e in evidence.entries("cost_tracked") if e.task_id), chance)
    changed(evidence, cost, reserved_micros=10**9)
    return "money-adds-up"
