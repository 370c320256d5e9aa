"""The judge finds each broken invariant, and nothing in a run that keeps them all."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from demo.check.evidence import APPRENTICE, ORCHESTRATOR, SUPERVISOR, EvidenceError, read
from demo.check.invariants import INVARIANTS, judge
from demo.check.summary import latency, lines, summarize
from demo.plants import break_chain, lose_completion
from tests.unit.demo.evidence import Case, entry, good_case, record, without

Damage = Callable[[Case], None]


def broken(case: Case, folder: Path) -> dict[str, tuple[str, ...]]:
    findings = judge(case.evidence(folder))
    return {finding.name: finding.violations for finding in findings if finding.violations}


def test_a_run_that_keeps_all_invariants_passes(tmp_path: Path) -> None:
    assert broken(good_case(), tmp_path) == {}


def no_session(case: Case) -> None:
    case.journals["heir"] = without(case.journals["heir"], event="connected")


def no_completion(case: Case) -> None:
    case.log = without(case.log, operation="task_completed", task_id="extra")
    case.journals["busy"] = without(case.journals["busy"], event="completed", task_id="extra")


def completed_twice_in_the_log(case: Case) -> None:
    case.log.append(entry("task_completed", "heir", "taken", 2))


def completed_by_two(case: Case) -> None:
    case.journals["victim"].append(record("completed", "taken", 1))


def forgotten_promise(case: Case) -> None:
    case.log = without(case.log, operation="task_completed", task_id="own")


def two_owners_by_their_word(case: Case) -> None:
    case.journals["rogue"] = [record("received", "own", 1)]


def two_owners_in_the_log(case: Case) -> None:
    case.log.insert(1, entry("claim_won", "heir", "own", 1))


def attempt_given_twice(case: Case) -> None:
    case.log.insert(1, entry("task_assigned", "busy", "own", 1))


def old_attempt_heard(case: Case) -> None:
    case.log.insert(10, entry("progress_reported", "victim", "taken", 1))


def begun_too_early(case: Case) -> None:
    case.log.insert(0, case.log.pop(7))


def nobody_killed(case: Case) -> None:
    case.journals[SUPERVISOR] = without(case.journals[SUPERVISOR], event="killed")


def claim_never_lost(case: Case) -> None:
    case.log = without(case.log, operation="claim_taken_back")


def taken_over_by_itself(case: Case) -> None:
    case.log[11]["swarm_id"] = "victim"


def late_word_not_sent(case: Case) -> None:
    case.journals["victim"] = without(case.journals["victim"], event="refused")


def late_word_not_recorded(case: Case) -> None:
    case.log = without(case.log, operation="message_fenced")


def late_word_counted(case: Case) -> None:
    case.log.insert(10, entry("task_completed", "victim", "taken", 1))


def never_blocked(case: Case) -> None:
    case.journals["busy"] = without(case.journals["busy"], event="blocked")


def no_filler(case: Case) -> None:
    case.journals["busy"] = without(case.journals["busy"], event="received", task_id="extra")


def own_task_not_returned(case: Case) -> None:
    case.journals["busy"] = without(case.journals["busy"], event="unblocked")


def own_task_not_finished(case: Case) -> None:
    case.journals["busy"] = without(case.journals["busy"], event="completed", task_id="own")


def no_alert(case: Case) -> None:
    case.journals[ORCHESTRATOR] = without(case.journals[ORCHESTRATOR], event="alerted")


def blocker_not_recorded(case: Case) -> None:
    case.log = without(case.log, operation="blocker_reported")


def blocker_not_closed(case: Case) -> None:
    case.log = without(case.log, operation="blocker_resolved")


def nobody_asked(case: Case) -> None:
    case.journals["heir"] = without(case.journals["heir"], event="help")


def nobody_named(case: Case) -> None:
    case.journals["heir"][3]["helpers"] = []


def nobody_wanted_help(case: Case) -> None:
    case.log = without(case.log, operation="help_requested")


def one_helper(case: Case) -> None:
    case.log = without(case.log, operation="help_accepted", swarm_id="heir")


def one_helper_twice(case: Case) -> None:
    next(e for e in case.log if e["operation"] == "help_accepted")["swarm_id"] = "heir"


def a_third_helper_by_its_word(case: Case) -> None:
    case.journals["victim"].append(record("helps", "hard", 1, help_id="h1"))


def helped_itself(case: Case) -> None:
    next(e for e in case.log if e["operation"] == "help_accepted")["swarm_id"] = "stuck"


def help_did_not_end(case: Case) -> None:
    case.log = without(case.log, operation="help_ended")


def help_ended_too_early(case: Case) -> None:
    case.log.insert(20, case.log.pop(26))


def joined_too_late(case: Case) -> None:
    case.log.insert(27, case.log.pop(22))


def not_done_with_all_the_help(case: Case) -> None:
    case.log = without(case.log, operation="task_completed", task_id="hard")


def help_for_nothing(case: Case) -> None:
    for helper in ("busy", "heir"):
        case.journals[helper] = without(case.journals[helper], event="helped")


def help_not_charged(case: Case) -> None:
    del case.log[23]


def help_charged_twice(case: Case) -> None:
    case.log.insert(23, case.log[23])


def help_beyond_the_budget(case: Case) -> None:
    case.log[20]["details"]["budget_micros"] = 3_999_999


def help_charged_to_the_helper(case: Case) -> None:
    case.log[24]["swarm_id"] = "heir"


def breaker_stayed_closed(case: Case) -> None:
    case.log = without(case.log, operation="breaker_opened")


def breaker_opened_without_a_failure(case: Case) -> None:
    case.log = without(case.log, operation="task_failed")


def open_breaker_refused_nothing(case: Case) -> None:
    case.journals[APPRENTICE] = without(case.journals[APPRENTICE], task_id="again")


def given_out_under_an_open_breaker(case: Case) -> None:
    case.log[15], case.log[16] = case.log[16], case.log[15]


def nobody_closed_the_breaker(case: Case) -> None:
    case.log = without(case.log, operation="breaker_reset")


def closed_without_a_person(case: Case) -> None:
    case.journals[SUPERVISOR] = without(case.journals[SUPERVISOR], event="approved")


def closed_in_another_name(case: Case) -> None:
    case.log[15]["details"]["approver"] = "heir"


def nothing_done_after_the_reset(case: Case) -> None:
    case.log = without(case.log, operation="task_completed", task_id="again")


def no_budget(case: Case) -> None:
    case.log[15]["details"]["new_budget_micros"] = None


def spent_too_much(case: Case) -> None:
    case.journals[APPRENTICE][4]["cost_micros"] = 3_000_001


def nothing_refused_for_the_budget(case: Case) -> None:
    case.journals[APPRENTICE] = without(case.journals[APPRENTICE], task_id="more")


def refused_though_it_was_covered(case: Case) -> None:
    case.journals[APPRENTICE][5]["max_cost_micros"] = 1_000_000


def refused_and_given_out(case: Case) -> None:
    case.log.append(entry("claim_won", APPRENTICE, "more", 1))


def module_not_loaded(case: Case) -> None:
    case.log = without(case.log, operation="swarm_loaded")


def module_did_not_run(case: Case) -> None:
    case.log = without(case.log, operation="task_executed")


def module_ran_twice(case: Case) -> None:
    case.log.append(next(e for e in case.log if e["operation"] == "task_executed"))


def module_ran_for_another_claim(case: Case) -> None:
    next(e for e in case.log if e["operation"] == "task_executed")["attempt"] = 2


def module_was_wrong(case: Case) -> None:
    case.journals[SUPERVISOR][-1]["words"] += 1


@pytest.mark.parametrize(
    ("damage", "invariant"),
    [
        (no_session, "every-session-reported"),
        (no_completion, "every-task-done"),
        (completed_twice_in_the_log, "one-completion-per-task"),
        (completed_by_two, "one-completion-per-task"),
        (forgotten_promise, "acknowledged-completion-is-in-the-witness-log"),
        (two_owners_by_their_word, "one-owner-per-attempt"),
        (two_owners_in_the_log, "one-owner-per-attempt"),
        (attempt_given_twice, "attempts-only-grow"),
        (old_attempt_heard, "attempts-only-grow"),
        (begun_too_early, "dependencies-respected"),
        (nobody_killed, "killed-task-was-taken-over"),
        (claim_never_lost, "killed-task-was-taken-over"),
        (taken_over_by_itself, "killed-task-was-taken-over"),
        (late_word_not_sent, "late-message-was-refused"),
        (late_word_not_recorded, "late-message-was-refused"),
        (late_word_counted, "late-message-was-refused"),
        (never_blocked, "blocked-session-got-a-filler"),
        (no_filler, "blocked-session-got-a-filler"),
        (own_task_not_returned, "blocked-session-got-a-filler"),
        (own_task_not_finished, "blocked-session-got-a-filler"),
        (no_alert, "blocker-reached-the-orchestrator"),
        (blocker_not_recorded, "blocker-reached-the-orchestrator"),
        (blocker_not_closed, "blocker-reached-the-orchestrator"),
        (nobody_asked, "help-was-answered"),
        (nobody_named, "help-was-answered"),
        (nobody_wanted_help, "two-sessions-helped"),
        (one_helper, "two-sessions-helped"),
        (one_helper_twice, "two-sessions-helped"),
        (a_third_helper_by_its_word, "two-sessions-helped"),
        (helped_itself, "two-sessions-helped"),
        (help_did_not_end, "help-ended-with-the-blocker"),
        (help_ended_too_early, "help-ended-with-the-blocker"),
        (joined_too_late, "help-ended-with-the-blocker"),
        (not_done_with_all_the_help, "help-ended-with-the-blocker"),
        (help_for_nothing, "the-helped-paid-the-helpers"),
        (help_not_charged, "the-helped-paid-the-helpers"),
        (help_charged_twice, "the-helped-paid-the-helpers"),
        (help_beyond_the_budget, "the-helped-paid-the-helpers"),
        (help_charged_to_the_helper, "the-helped-paid-the-helpers"),
        (module_not_loaded, "the-module-did-its-task"),
        (module_did_not_run, "the-module-did-its-task"),
        (module_ran_twice, "the-module-did-its-task"),
        (module_ran_for_another_claim, "the-module-did-its-task"),
        (module_was_wrong, "the-module-did-its-task"),
        (breaker_stayed_closed, "failures-opened-the-breaker"),
        (breaker_opened_without_a_failure, "failures-opened-the-breaker"),
        (open_breaker_refused_nothing, "failures-opened-the-breaker"),
        (given_out_under_an_open_breaker, "failures-opened-the-breaker"),
        (nobody_closed_the_breaker, "a-person-closed-the-breaker"),
        (closed_without_a_person, "a-person-closed-the-breaker"),
        (closed_in_another_name, "a-person-closed-the-breaker"),
        (nothing_done_after_the_reset, "a-person-closed-the-breaker"),
        (no_budget, "the-budget-held"),
        (spent_too_much, "the-budget-held"),
        (nothing_refused_for_the_budget, "the-budget-held"),
        (refused_though_it_was_covered, "the-budget-held"),
        (refused_and_given_out, "the-budget-held"),
    ],
)
def test_damage_is_found_by_the_invariant_that_it_breaks(
    damage: Damage, invariant: str, tmp_path: Path
) -> None:
    case = good_case()
    damage(case)
    assert invariant in broken(case, tmp_path)


def drop_an_entry(lines: list[str]) -> None:
    del lines[4]


def swap_two_entries(lines: list[str]) -> None:
    lines[3], lines[4] = lines[4], lines[3]


def cut_the_end(lines: list[str]) -> None:
    del lines[-1]


def change_a_body(lines: list[str]) -> None:
    lines[5] = lines[5].replace("busy", "heir")


def change_a_hash(lines: list[str]) -> None:
    changed = json.loads(lines[5])
    lines[5] = json.dumps(changed | {"hash": "0" * 64})


def damage_a_body_beyond_reading(lines: list[str]) -> None:
    changed = json.loads(lines[5])
    lines[5] = json.dumps(changed | {"body": changed["body"][:-1]})


@pytest.mark.parametrize(
    "tamper",
    [
        drop_an_entry,
        swap_two_entries,
        cut_the_end,
        change_a_body,
        change_a_hash,
        damage_a_body_beyond_reading,
    ],
)
def test_a_log_that_was_tampered_with_breaks_the_chain(
    tamper: Callable[[list[str]], None], tmp_path: Path
) -> None:
    good_case().write(tmp_path)
    export = tmp_path / "witness.jsonl"
    entries = export.read_text().splitlines()
    tamper(entries)
    export.write_text("\n".join(entries) + "\n")
    findings = {finding.name: finding for finding in judge(read(tmp_path))}
    assert findings["witness-chain"].violations


def test_every_invariant_is_shown_to_be_breakable() -> None:
    """A new invariant needs a test in which it is violated."""
    marks = test_damage_is_found_by_the_invariant_that_it_breaks.pytestmark  # type: ignore[attr-defined]  # set by parametrize
    damaged = {invariant for _, invariant in marks[0].args[1]}
    assert damaged | {"witness-chain"} == set(INVARIANTS)


def test_a_changed_letter_breaks_the_chain(tmp_path: Path) -> None:
    good_case().write(tmp_path)
    break_chain(tmp_path / "witness.jsonl")
    assert {f.name for f in judge(read(tmp_path)) if f.violations} == {"witness-chain"}


def test_a_forged_log_is_a_whole_chain_and_shows_by_what_it_lost(tmp_path: Path) -> None:
    good_case().write(tmp_path)
    lose_completion(tmp_path / "witness.jsonl")
    evidence = read(tmp_path)
    found = {finding.name: finding.violations for finding in judge(evidence) if finding.violations}
    assert set(found) == {
        "witness-chain",
        "acknowledged-completion-is-in-the-witness-log",
        "help-ended-with-the-blocker",
    }
    assert "forged" in found["witness-chain"][0]


def test_the_summary_is_computed_from_journals_and_log(tmp_path: Path) -> None:
    evidence = good_case().evidence(tmp_path)
    summary = summarize(evidence)
    assert (summary.tasks, summary.completions) == (3, {1: 3})
    once = {"own": 1, "extra": 1, "trial": 1, "again": 1, "hard": 1, "B.1": 1}
    assert summary.attempts == once | {"taken": 2}
    assert (summary.fenced, summary.cost_micros, summary.entries) == (2, 2_000_000, 32)
    # The four assignments that Python agents received, 5 ms after the log's time of decision.
    assert summary.push.count == 4
    assert summary.push.p99 == pytest.approx(5, abs=0.01)
    assert summary.claim.count == 1
    text = "\n".join(lines(evidence, summary, judge(evidence)))
    assert "3 of 3, each exactly once" in text
    assert text.endswith(f"OK: all {len(INVARIANTS)} invariants hold")


def test_percentiles_are_measurements() -> None:
    measured = latency([each / 1000 for each in range(1, 201)])
    assert (measured.count, measured.p50, measured.p99) == (200, 100, 198)
    assert str(latency([])) == "not measured"
    assert latency([0.007]).p99 == 7


@pytest.mark.parametrize(
    ("damage", "status", "said"),
    [
        (None, 0, "OK: all"),
        (two_owners_by_their_word, 1, "FAILED: broken invariant: one-owner-per-attempt"),
    ],
)
def test_the_judge_is_a_program(
    damage: Damage | None, status: int, said: str, tmp_path: Path
) -> None:
    case = good_case()
    if damage is not None:
        damage(case)
    case.write(tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "demo.check", tmp_path], capture_output=True, text=True, check=False
    )
    assert (done.returncode, said in done.stdout) == (status, True), done.stdout + done.stderr


@pytest.mark.parametrize("missing", ["run.json", "board.yaml", "witness.jsonl"])
def test_missing_evidence_is_named(missing: str, tmp_path: Path) -> None:
    good_case().write(tmp_path)
    (tmp_path / missing).unlink()
    with pytest.raises(EvidenceError, match=missing):
        read(tmp_path)


def test_a_journal_that_is_no_json_is_named(tmp_path: Path) -> None:
    good_case().write(tmp_path)
    (tmp_path / "journals" / "heir.jsonl").write_text('{"event": "opened"}\n{"ev')
    with pytest.raises(EvidenceError, match=r"heir\.jsonl, line 2: not JSON"):
        read(tmp_path)
