"""The board and the fleet fit together as the story needs it."""

from fractions import Fraction

import pytest

from demo.helping import HELP_HOURS
from demo.plan import (
    BOARD_FILE,
    FLEET_FILE,
    HELPERS,
    RESCUE_FILE,
    Board,
    BoardTask,
    Does,
    Fleet,
    Runs,
    SessionPlan,
)

BOARD = Board.read(BOARD_FILE)
FLEET = Fleet.read(FLEET_FILE)
SEVEN = [session for session in FLEET.sessions if session.id.startswith("session-")]
SPARES = [session for session in FLEET.sessions if session.id.startswith("spare-")]

# What a session has to reach to be given a task (requirement G1).
THRESHOLD = Fraction(7, 10)


def qualified(task: BoardTask, sessions: list[SessionPlan]) -> list[SessionPlan]:
    return [each for each in sessions if _match(task, each) >= THRESHOLD]


def _match(task: BoardTask, session: SessionPlan) -> Fraction:
    has = set(session.capabilities)
    return Fraction(len(has & task.capabilities), len(has | task.capabilities))


@pytest.mark.parametrize("task", BOARD.tasks, ids=lambda task: task.id)
def test_exactly_one_of_the_seven_is_right_for_each_task(task: BoardTask) -> None:
    assert len(qualified(task, SEVEN)) == 1


@pytest.mark.parametrize(
    ("task_id", "swarm_id"),
    [
        ("P0.1.1", "session-5-cli"),
        ("P0.1.2", "session-7-ifbus"),
        ("P0.2.1", "session-5-cli"),
        ("P0.2.3", "session-7-ifbus"),
        ("P0.3.5", "session-7-ifbus"),
        ("P0.4.1", "session-5-cli"),
        ("P0.5.2", "session-6-talent"),
    ],
)
def test_tasks_are_for_the_session_that_did_them(task_id: str, swarm_id: str) -> None:
    assert [session.id for session in qualified(BOARD.task(task_id), SEVEN)] == [swarm_id]


def test_spares_are_dearer_twins_of_three_sessions() -> None:
    twins = {spare.id: _twin(spare) for spare in SPARES}
    assert {name: twin.id for name, twin in twins.items()} == {
        "spare-4-sip": "session-4-sip",
        "spare-5-cli": "session-5-cli",
        "spare-7-ifbus": "session-7-ifbus",
    }
    assert all(spare.cost_per_hour > twins[spare.id].cost_per_hour for spare in SPARES)


def _twin(spare: SessionPlan) -> SessionPlan:
    return next(each for each in SEVEN if set(each.capabilities) == set(spare.capabilities))


def test_the_board_is_whole() -> None:
    ids = [task.id for task in BOARD.tasks]
    assert len(ids) == len(set(ids)) == 37
    done: set[str] = set()
    while ready := [t for t in BOARD.tasks if t.id not in done and set(t.depends) <= done]:
        done |= {task.id for task in ready}
    assert done == set(ids)


def test_fillers_wait_for_nothing() -> None:
    assert all(not task.depends for task in BOARD.tasks if task.filler)


def test_each_part_of_the_story_and_each_program_is_there_once() -> None:
    assert {does: FLEET.whose(does).id for does in Does} == {
        Does.KILLED: "session-4-sip",
        Does.BLOCKED: "session-7-ifbus",
        Does.HELP: "session-3-h323",
        Does.HELPED: "session-6-talent",
    }
    runs = [session.runs for session in FLEET.sessions]
    assert (runs.count(Runs.TYPESCRIPT), runs.count(Runs.SHELL)) == (1, 1)


def test_the_killed_session_has_someone_to_take_over() -> None:
    victim = FLEET.whose(Does.KILLED)
    own = [task for task in BOARD.tasks if victim in qualified(task, SEVEN) and not task.filler]
    assert own
    assert all(qualified(task, SPARES) for task in own)


def test_the_call_for_help_can_be_answered() -> None:
    """Idle swarms that cover at least half of the needs are named (requirement N5)."""
    asker = FLEET.whose(Does.HELP)
    assert asker.story is not None
    needs = set(asker.story.needs)
    others = [session for session in FLEET.sessions if session.id != asker.id]
    assert any(2 * len(needs & set(each.capabilities)) >= len(needs) for each in others)


def test_g9_who_is_helped_does_a_task_that_two_others_can_help_with() -> None:
    asker = FLEET.whose(Does.HELPED)
    assert asker.story is not None
    task = Board.read(RESCUE_FILE).task(asker.story.task)
    assert qualified(task, SEVEN) == [asker]
    needs = set(asker.story.needs)
    others = [session for session in FLEET.sessions if session.id != asker.id]
    fit = [each for each in others if 2 * len(needs & set(each.capabilities)) >= len(needs)]
    assert len(fit) == HELPERS
    assert sum(each.cost_per_hour for each in fit) * HELP_HOURS <= asker.story.budget


def test_tasks_by_hand_are_for_the_session_without_a_stream() -> None:
    """Assignment needs an open session, and the shell script has none."""
    script = [session for session in SEVEN if session.runs is Runs.SHELL]
    for task in BOARD.tasks:
        assert (task.dispatch == "manual") == (qualified(task, SEVEN) == script)
