"""The life of a status: every status met by everything that can happen."""

from dataclasses import replace
from datetime import UTC, datetime
from itertools import product

import pytest

from infrafabric_server.fleet.models import AgentStatus, SessionRole, Status
from infrafabric_server.notify import rules
from infrafabric_server.notify.models import (
    Claimed,
    Completed,
    Dropped,
    News,
    Situation,
    StatusReport,
)
from tests.unit.notify.statuses import (
    ALONE,
    NOW,
    SITUATIONS,
    START,
    WORKER,
    alert,
    said,
    status,
    stuck,
)


@pytest.mark.parametrize(("before", "after"), list(product(Status, Status)))
def test_n1_any_status_may_follow_any(before: Status, after: Status) -> None:
    for held in SITUATIONS.values():
        blockers = {task_id: alert(task_id) for task_id in ("", *held.held)}
        situation = replace(held, blockers=blockers) if after is Status.BLOCKED else held
        then = rules.report(status(before), said(after), situation, NOW)
        assert then.status is after
        if after is not before:
            assert then.status_time == NOW


@pytest.mark.parametrize("before", list(Status))
@pytest.mark.parametrize("situation", list(SITUATIONS.values()), ids=list(SITUATIONS))
def test_n1_completed_is_followed_by_idle(before: Status, situation: Situation) -> None:
    completed = rules.report(status(before), said(Status.COMPLETED), situation, NOW)
    idle = rules.settle(completed, situation, NOW)
    assert idle.status is Status.IDLE
    assert (idle.waiting_since == NOW) == (situation.session is not SessionRole.ORCHESTRATOR)
    assert rules.settle(idle, situation, NOW) is idle


@pytest.mark.parametrize("situation", list(SITUATIONS.values()), ids=list(SITUATIONS))
def test_n1_a_second_idle_changes_nothing(situation: Situation) -> None:
    first = rules.report(status(Status.BUSY), said(Status.IDLE), situation, START)
    later = said(Status.IDLE, time=NOW, waiting_since=NOW, message="again")
    assert rules.report(first, later, situation, NOW) == first


def test_n1_a_second_idle_still_tells_its_task_and_totals() -> None:
    then = rules.report(
        status(), said(Status.IDLE, last_task="cleaned up", cost_spent_micros=7), ALONE, NOW
    )
    assert then == status(last_task="cleaned up", cost_spent_micros=7, reported_cost_micros=7)


def test_n1_a_swarm_that_waits_for_nothing_waits_from_its_next_idle_on() -> None:
    then = rules.report(status(waiting_since=None), said(Status.IDLE), ALONE, NOW)
    assert then.waiting_since == then.status_time == NOW


def test_n2_the_reporters_own_times_are_kept_in_utc() -> None:
    said_idle = StatusReport.model_validate(
        {
            "swarm_id": "s",
            "status": "idle",
            "time": "2025-11-12T09:00:00",
            "waiting_since": "2025-11-12T10:30:00+02:00",
        }
    )
    then = rules.report(status(Status.BUSY), said_idle, ALONE, NOW)
    assert then.status_time == datetime(2025, 11, 12, 9, tzinfo=UTC)
    assert then.waiting_since == datetime(2025, 11, 12, 8, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("kind", "last_task", "situation", "declared"),
    [
        (Status.IDLE, None, "alone", False),
        (Status.BUSY, None, "alone", True),
        (Status.BUSY, "reading", "working", True),
        (Status.BUSY, "t1", "alone", True),
        (Status.BUSY, "t1", "working", False),
        (Status.BUSY, "t1", "parked", False),
        (Status.BUSY, None, "working", False),
        (Status.BUSY, None, "parked", True),
        (Status.BLOCKED, None, "alone", True),
        (Status.BLOCKED, "t1", "working", False),
        (Status.BLOCKED, "electricity", "working", True),
        (Status.HELP, None, "working", True),
    ],
)
def test_a_status_is_declared_unless_a_held_task_explains_it(
    kind: Status, last_task: str | None, situation: str, declared: bool
) -> None:
    report = said(kind, last_task=last_task)
    held = replace(SITUATIONS[situation], blockers={"": alert(), "t1": alert("t1")})
    assert rules.report(status(), report, held, NOW).declared is declared


def test_n4_what_is_absent_erases_nothing() -> None:
    known = status(
        Status.BUSY, last_task="t1", cost_spent_micros=9, reported_cost_micros=9, tasks_completed=2
    )
    then = rules.report(known, said(Status.HELP, message="why"), ALONE, NOW)
    assert (then.last_task, then.cost_spent_micros, then.tasks_completed) == ("t1", 9, 2)


def test_n4_totals_of_a_swarm_with_a_session_count_only_down_the_session() -> None:
    situation = Situation(session=WORKER)
    outside = said(Status.BUSY, cost_spent_micros=50, tasks_completed=3)
    inside = said(Status.BUSY, cost_spent_micros=50, by_session=True)
    assert rules.report(status(), outside, situation, NOW).cost_spent_micros == 0
    assert rules.report(status(), inside, situation, NOW).cost_spent_micros == 50
    assert rules.report(status(), outside, ALONE, NOW).tasks_completed == 3


def test_n1_a_claim_and_a_completion_set_the_status() -> None:
    for before, situation in product(Status, SITUATIONS.values()):
        busy = rules.react(status(before), Claimed("t9"), situation, NOW)
        assert (busy.status, busy.last_task, busy.declared) == (Status.BUSY, "t9", False)
        done = rules.react(status(before), Completed("t9", 40, 7), situation, NOW)
        assert (done.status, done.last_task) == (Status.COMPLETED, "t9")
        assert (done.cost_spent_micros, done.tasks_completed) == (40, 1)


def test_a_completion_is_counted_once() -> None:
    news = Completed("t1", 40, 7)
    done = rules.react(status(), news, ALONE, NOW)
    assert rules.react(done, news, ALONE, NOW) is done


@pytest.mark.parametrize(
    ("situation", "kind", "last_task", "waits"),
    [
        ("alone", Status.IDLE, "t0", True),
        ("session", Status.IDLE, "t0", True),
        ("orchestrator", Status.IDLE, "t0", False),
        ("working", Status.BUSY, "t1", False),
        ("parked", Status.BLOCKED, "t1", False),
        ("filler", Status.BUSY, "f1", False),
    ],
)
def test_n1_after_a_completed_task_a_swarm_does_what_it_holds(
    situation: str, kind: Status, last_task: str, waits: bool
) -> None:
    held = SITUATIONS[situation]
    connected = held.session is not None
    done = rules.react(status(connected=connected), Completed("t0", 0, 1), held, NOW)
    then = rules.settle(done, held, NOW)
    assert (then.status, then.last_task) == (kind, last_task)
    assert (then.waiting_since is not None) is waits


@pytest.mark.parametrize("own_word", [True, False])
def test_n1_the_last_claim_gone_means_idle(own_word: bool) -> None:
    busy = status(Status.BUSY, last_task="t1")
    then = rules.react(busy, Dropped("t1", own_word), ALONE, NOW)
    assert then.status is Status.IDLE
    # Nobody has heard of a swarm without a session whose claim ran out.
    assert (then.waiting_since is not None) is own_word
    assert rules.react(busy, Dropped("t1", own_word), SITUATIONS["session"], NOW).waiting_since


@pytest.mark.parametrize(
    "kept",
    [
        status(Status.BUSY, declared=True, last_task="reading"),
        status(Status.HELP, declared=True),
        status(Status.BLOCKED),
        status(Status.IDLE),
        status(Status.COMPLETED),
    ],
    ids=lambda kept: str(kept.status),
)
def test_a_lost_claim_leaves_what_the_swarm_said_of_itself(kept: AgentStatus) -> None:
    assert rules.react(kept, Dropped("t1", own_word=False), ALONE, NOW) is kept


def test_a_lost_claim_leaves_a_swarm_busy_with_another() -> None:
    busy = status(Status.BUSY, last_task="t1")
    assert rules.react(busy, Dropped("t0", own_word=False), SITUATIONS["working"], NOW) is busy


@pytest.mark.parametrize(
    ("before", "situation", "kind", "waits"),
    [
        (Status.IDLE, "session", Status.IDLE, True),
        (Status.BUSY, "session", Status.IDLE, True),
        (Status.HELP, "session", Status.IDLE, True),
        (Status.IDLE, "orchestrator", Status.IDLE, False),
        (Status.IDLE, "working", Status.BUSY, False),
        (Status.BUSY, "parked", Status.BLOCKED, False),
    ],
)
def test_a_new_session_waits_for_work_or_goes_on_with_what_it_holds(
    before: Status, situation: str, kind: Status, waits: bool
) -> None:
    then = rules.attend(status(before), SITUATIONS[situation], NOW)
    assert then.connected
    assert then.status is kind
    assert (then.waiting_since == NOW) is waits


@pytest.mark.parametrize("before", list(Status))
def test_a_reconnect_changes_nothing(before: Status) -> None:
    same = status(before, connected=True)
    for situation in SITUATIONS.values():
        if situation.session is not None:
            assert rules.attend(same, situation, NOW) is same


@pytest.mark.parametrize("before", list(Status))
def test_a_lost_session_leaves_the_idle_queue(before: Status) -> None:
    then = rules.attend(status(before, connected=True), ALONE, NOW)
    assert (then.status, then.waiting_since, then.connected) == (Status.IDLE, None, False)


def test_a_lost_session_leaves_claims_made_outside_it() -> None:
    then = rules.attend(
        status(Status.BUSY, last_task="t1", connected=True), SITUATIONS["claimed by hand"], NOW
    )
    assert (then.status, then.connected) == (Status.BUSY, False)


def test_news_is_taken_in_order() -> None:
    held = Situation(session=WORKER, working=("t2",))
    news: list[News] = [Claimed("t1"), Completed("t1", 10, 5), Claimed("t2")]
    then = rules.fold(status(connected=True), news, held, NOW)
    assert (then.status, then.last_task, then.tasks_completed) == (Status.BUSY, "t2", 1)


@pytest.mark.parametrize(
    ("before", "situation", "kind"),
    [
        (status(Status.BUSY, last_task="t1"), ALONE, Status.IDLE),
        (status(Status.BUSY, declared=True), ALONE, Status.BUSY),
        (status(Status.BLOCKED), ALONE, Status.IDLE),
        (status(Status.BLOCKED, last_task="t1"), stuck("t1"), Status.BLOCKED),
        (status(Status.HELP, declared=True), ALONE, Status.HELP),
        (status(Status.IDLE, connected=True), ALONE, Status.IDLE),
        (status(Status.IDLE), SITUATIONS["working"], Status.BUSY),
    ],
)
def test_a_restart_brings_the_status_to_agree_with_what_is_held(
    before: AgentStatus, situation: Situation, kind: Status
) -> None:
    then = rules.repaired(before, situation, NOW)
    assert then.status is kind
    assert rules.repaired(then, situation, NOW) is then
