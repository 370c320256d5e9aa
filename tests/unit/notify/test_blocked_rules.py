"""The life of a status that a blocker holds up, and what ends the blocker."""

import pytest

from infrafabric_server.fleet.models import AgentStatus, Status
from infrafabric_server.notify import rules
from infrafabric_server.notify.models import Blocked, News, Situation, Unblocked
from tests.unit.notify.statuses import ALONE, NOW, SITUATIONS, WORKER, alert, said, status, stuck


def test_a_blocker_that_is_resolved_before_its_report_is_written_leaves_nobody_blocked() -> None:
    then = rules.report(status(Status.BUSY), said(Status.BLOCKED, message="why"), ALONE, NOW)
    assert (then.status, then.waiting_since, then.message) == (Status.IDLE, NOW, "")


@pytest.mark.parametrize("before", list(Status))
def test_c9_a_reported_blocker_blocks_and_its_end_gives_the_task_back(before: Status) -> None:
    news: News = Blocked(alert("t1"))
    blocked = rules.react(status(before), news, SITUATIONS["parked"], NOW)
    assert (blocked.status, blocked.last_task, blocked.message, blocked.declared) == (
        Status.BLOCKED,
        "t1",
        "no network",
        False,
    )
    assert rules.react(blocked, news, SITUATIONS["parked"], NOW) is blocked
    back = rules.react(blocked, Unblocked("t1"), SITUATIONS["working"], NOW)
    assert (back.status, back.last_task, back.message) == (Status.BUSY, "t1", "")


def test_c9_a_resolved_blocker_leaves_the_filler_and_the_swarms_own_word() -> None:
    held = Situation(session=WORKER, working=("f1", "t1"))
    for kept in (status(Status.BUSY, last_task="f1"), status(Status.HELP, declared=True)):
        assert rules.react(kept, Unblocked("t1"), held, NOW) is kept
    idle = rules.react(status(Status.IDLE), Unblocked("t1"), held, NOW)
    assert (idle.status, idle.last_task) == (Status.BUSY, "t1")


def test_the_end_of_one_of_two_blockers_leaves_the_other() -> None:
    held = stuck("t2", session=WORKER, parked=("t2",))
    then = rules.react(status(Status.BLOCKED, last_task="t1"), Unblocked("t1"), held, NOW)
    assert (then.status, then.last_task) == (Status.BLOCKED, "t2")


def test_a_resolved_blocker_without_a_task_leaves_a_silent_swarm_out_of_the_queue() -> None:
    blocked = status(Status.BLOCKED, declared=True, blocked_task="electricity")
    then = rules.react(blocked, Unblocked(""), ALONE, NOW)
    assert (then.status, then.waiting_since, then.blocked_task) == (Status.IDLE, None, None)


@pytest.mark.parametrize(
    ("before", "last_task", "situation", "expected"),
    [
        (status(), "t1", "working", ("t1", None)),
        (status(), "electricity", "working", ("", "electricity")),
        (status(), None, "working", ("t1", None)),
        (status(), None, "parked", ("t1", None)),
        (status(last_task="f1"), None, "filler", ("f1", None)),
        (status(), None, "filler", ("", None)),
        (status(Status.BUSY, last_task="reading"), None, "alone", ("", "reading")),
        (status(Status.IDLE, last_task="reading"), None, "alone", ("", None)),
    ],
)
def test_n1_what_a_blocked_report_is_about(
    before: AgentStatus, last_task: str | None, situation: str, expected: tuple[str, str | None]
) -> None:
    report = said(Status.BLOCKED, last_task=last_task)
    assert rules.blocked_on(before, report, SITUATIONS[situation]) == expected


def test_a_repeated_report_without_a_name_is_about_the_same_text() -> None:
    before = status(Status.BLOCKED, blocked_task="electricity", last_task="electricity")
    assert rules.blocked_on(before, said(Status.BLOCKED), stuck("")) == ("", "electricity")


@pytest.mark.parametrize(
    ("kind", "last_task", "before", "situation", "ended"),
    [
        # The blocked task is one that the swarm holds.
        (Status.BUSY, "t1", status(Status.BLOCKED), "parked", ["t1"]),
        (Status.BUSY, None, status(Status.BLOCKED, last_task="t1"), "parked", ["t1"]),
        (Status.BUSY, "f1", status(Status.BLOCKED), "filler", []),
        (Status.BUSY, None, status(Status.BUSY, last_task="f1"), "filler", []),
        (Status.BUSY, "reading", status(Status.BLOCKED), "parked", []),
        (Status.COMPLETED, "t1", status(Status.BLOCKED), "parked", []),
        (Status.IDLE, "t1", status(Status.BLOCKED), "parked", []),
        (Status.HELP, "t1", status(Status.BLOCKED), "parked", []),
    ],
)
def test_n1_busy_on_the_blocked_task_closes_its_alert_and_busy_on_a_filler_does_not(
    kind: Status, last_task: str | None, before: AgentStatus, situation: str, ended: list[str]
) -> None:
    report = said(kind, last_task=last_task)
    assert rules.resumed(before, report, SITUATIONS[situation]) == ended


@pytest.mark.parametrize(
    ("kind", "last_task", "blocked_task", "working", "ended"),
    [
        (Status.BUSY, "electricity", "electricity", (), [""]),
        (Status.COMPLETED, "electricity", "electricity", (), [""]),
        (Status.BUSY, None, "electricity", (), [""]),
        (Status.BUSY, "painting", "electricity", (), []),
        (Status.BUSY, "painting", None, (), [""]),
        (Status.BUSY, None, None, (), [""]),
        (Status.COMPLETED, "painting", None, (), [""]),
        (Status.BUSY, "f1", None, ("f1",), []),
        (Status.BUSY, None, None, ("f1",), []),
        (Status.IDLE, "electricity", "electricity", (), []),
    ],
)
def test_n1_a_blocker_without_a_task_ends_with_work_on_the_same_text(
    kind: Status,
    last_task: str | None,
    blocked_task: str | None,
    working: tuple[str, ...],
    ended: list[str],
) -> None:
    before = status(Status.BLOCKED, blocked_task=blocked_task, last_task=blocked_task)
    report = said(kind, last_task=last_task)
    assert rules.resumed(before, report, stuck("", working=working)) == ended
