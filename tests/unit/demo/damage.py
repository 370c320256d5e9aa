"""Ways to damage a run that keeps every invariant, each with the invariant that it breaks."""

from collections.abc import Callable

from demo.check.evidence import APPRENTICE, ORCHESTRATOR, SUPERVISOR
from tests.unit.demo.evidence import Case, entry, record, without

Damage = Callable[[Case], None]


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


DAMAGES: tuple[tuple[Damage, str], ...] = (
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
)
