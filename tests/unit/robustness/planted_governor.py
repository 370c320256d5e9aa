"""Faults in breakers, in help and in escalations."""

import random
from dataclasses import replace

from tests.robustness.evidence import Entry, Evidence
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
def claim_while_the_breaker_is_open(evidence: Evidence, chance: random.Random) -> str:
    opened, given = entry(evidence, chance, "breaker_opened"), grant(evidence, chance)
    planted = replace(given, swarm_id=opened.swarm_id, entry_id="planted")
    after(evidence, opened, replace(planted, revision=opened.revision))
    return "no-work-while-open"


@planted
def claim_while_all_is_held(evidence: Evidence, chance: random.Random) -> str:
    opened, given = entry(evidence, chance, "hold_opened"), grant(evidence, chance)
    after(evidence, opened, replace(given, entry_id="planted", revision=opened.revision))
    return "no-work-while-open"


@planted
def helper_while_all_is_held(evidence: Evidence, chance: random.Random) -> str:
    opened = entry(evidence, chance, "hold_opened")
    given = entry(evidence, chance, "help_accepted")
    after(evidence, opened, replace(given, entry_id="planted", revision=opened.revision))
    return "no-work-while-open"


@planted
def breaker_that_closed_by_itself(evidence: Evidence, chance: random.Random) -> str:
    last: dict[str, Entry] = {
        e.swarm_id: e for e in evidence.entries("breaker_opened", "breaker_reset")
    }
    without(evidence, one((e for e in last.values() if e.operation == "breaker_reset"), chance))
    return "breakers-are-the-log"


@planted
def breaker_that_nobody_closed(evidence: Evidence, chance: random.Random) -> str:
    changed(evidence, entry(evidence, chance, "breaker_reset", "hold_reset"), approver=" ")
    return "closed-by-a-person"


@planted
def breaker_that_was_closed_for_nothing(evidence: Evidence, chance: random.Random) -> str:
    changed(evidence, entry(evidence, chance, "breaker_reset"), reason="")
    return "closed-by-a-person"


@planted
def breaker_that_a_swarm_closed(evidence: Evidence, chance: random.Random) -> str:
    reset = entry(evidence, chance, "breaker_reset")
    changed(evidence, reset, approver=reset.swarm_id)
    return "closed-by-a-person"


@planted
def breaker_that_opens_twice(evidence: Evidence, chance: random.Random) -> str:
    opened = entry(evidence, chance, "breaker_opened", "hold_opened")
    after(evidence, opened, replace(opened, entry_id="planted"))
    return "breaker-transitions"


@planted
def trip_that_is_lost(evidence: Evidence, chance: random.Random) -> str:
    asked = one(
        (op for op in evidence.of_kind("trip") if op.acknowledged and op.answer["done"]), chance
    )
    without(evidence, entry_of(evidence, asked))
    return "acknowledged-is-kept"


@planted
def reset_that_is_lost(evidence: Evidence, chance: random.Random) -> str:
    without(evidence, entry_of(evidence, acknowledged(evidence, chance, "reset")))
    return "acknowledged-is-kept"


@planted
def limit_that_is_lost(evidence: Evidence, chance: random.Random) -> str:
    set_ = one((op for op in evidence.of_kind("budget") if op.tag and op.acknowledged), chance)
    without(evidence, entry_of(evidence, set_))
    return "acknowledged-is-kept"


@planted
def pool_that_pauses_for_nothing(evidence: Evidence, chance: random.Random) -> str:
    paused = entry(evidence, chance, "pool_paused")
    given = grant(evidence, chance)
    after(evidence, given, replace(paused, revision=given.revision, entry_id="planted"))
    return "every-entry-has-a-cause"


@planted
def pool_that_resumes_again(evidence: Evidence, chance: random.Random) -> str:
    resumed = entry(evidence, chance, "pool_resumed")
    after(evidence, resumed, replace(resumed, entry_id="planted"))
    return "breaker-transitions"


@planted
def helper_too_many(evidence: Evidence, chance: random.Random) -> str:
    accepted = entry(evidence, chance, "help_accepted")
    asked = next(
        e
        for e in evidence.entries("help_requested")
        if e.details["help_id"] == accepted.details["help_id"]
    )
    changed(evidence, asked, max_helpers=0)
    return "helpers-at-most"


@planted
def offer_too_many(evidence: Evidence, chance: random.Random) -> str:
    offered = entry(evidence, chance, "help_offered")
    changed(evidence, offered, asked=["fay", "gus", "hal"])
    return "helpers-at-most"


@planted
def helper_of_a_claim_that_is_over(evidence: Evidence, chance: random.Random) -> str:
    accepted = entry(evidence, chance, "help_accepted")
    ended = next(
        e
        for e in evidence.entries("help_ended")
        if e.details["help_id"] == accepted.details["help_id"]
    )
    late = replace(accepted, revision=ended.revision)
    log = [each for each in evidence.log if each is not accepted]
    log.insert(log.index(ended), late)
    put_log(evidence, log)
    return "help-needs-a-claim"


@planted
def helper_after_the_end(evidence: Evidence, chance: random.Random) -> str:
    ended = entry(evidence, chance, "help_ended")
    again = replace(ended, operation="help_accepted", swarm_id="eve", entry_id="planted")
    after(evidence, ended, again)
    return "help-transitions"


@planted
def acceptance_that_is_lost(evidence: Evidence, chance: random.Random) -> str:
    asked = one((op for op in evidence.of_kind("accept") if op.answer["accepted"]), chance)
    about = (asked.fields["help_id"], asked.swarm_id)
    lost = next(
        e for e in evidence.entries("help_accepted") if (e.details["help_id"], e.swarm_id) == about
    )
    without(evidence, lost)
    return "acknowledged-is-kept"


@planted
def helper_who_did_not_accept(evidence: Evidence, chance: random.Random) -> str:
    asked = one((op for op in evidence.of_kind("accept") if op.answer["accepted"]), chance)
    asked.outcome, asked.answer = Outcome.REFUSED, {}
    return "every-entry-has-a-cause"


@planted
def call_for_help_that_is_lost(evidence: Evidence, chance: random.Random) -> str:
    lost = acknowledged(evidence, chance, "help").tag
    put_log(
        evidence,
        [e for e in evidence.log if e.operation != "help_requested" or e.details["reason"] != lost],
    )
    return "acknowledged-is-kept"


@planted
def call_for_help_without_an_end(evidence: Evidence, chance: random.Random) -> str:
    ended = entry(evidence, chance, "help_ended")
    evidence.help[str(ended.details["help_id"])] = False
    return "nothing-is-stuck"


@planted
def escalation_that_is_raised_after_its_end(evidence: Evidence, chance: random.Random) -> str:
    closed = entry(evidence, chance, "escalation_closed")
    details = {**closed.details, "level": 3}
    raised = replace(closed, operation="escalation_raised", entry_id="planted", details=details)
    after(evidence, closed, raised)
    return "escalation-transitions"


@planted
def escalation_that_rises_though_somebody_cares(evidence: Evidence, chance: random.Random) -> str:
    seen = entry(evidence, chance, "escalation_acknowledged")
    details = {**seen.details, "level": 3}
    raised = replace(seen, operation="escalation_raised", entry_id="planted", details=details)
    after(evidence, seen, raised)
    return "escalation-transitions"


@planted
def escalation_that_begins_high(evidence: Evidence, chance: random.Random) -> str:
    changed(evidence, entry(evidence, chance, "escalation_opened"), level=2)
    return "escalation-transitions"


@planted
def second_escalation_of_one_incident(evidence: Evidence, chance: random.Random) -> str:
    opened = one(
        (
            e
            for e in evidence.entries("escalation_opened")
            if str(e.details["escalation_id"]).startswith("breaker:")
        ),
        chance,
    )
    after(evidence, opened, replace(opened, entry_id="planted"))
    return "escalation-transitions"


@planted
def escalation_that_is_not_as_logged(evidence: Evidence, chance: random.Random) -> str:
    evidence.escalations[one(evidence.escalations, chance)] = ("OPEN", 2)
    return "escalations-are-the-log"


@planted
def escalation_without_an_end(evidence: Evidence, chance: random.Random) -> str:
    closed = entry(evidence, chance, "escalation_closed")
    about = str(closed.details["escalation_id"])
    put_log(
        evidence,
        [
            e
            for e in evidence.log
            if e.operation != "escalation_closed" or e.details["escalation_id"] != about
        ],
    )
    return "nothing-is-stuck"


@planted
def acknowledgement_that_is_lost(evidence: Evidence, chance: random.Random) -> str:
    without(evidence, entry_of(evidence, acknowledged(evidence, chance, "acknowledge")))
    return "acknowledged-is-kept"
