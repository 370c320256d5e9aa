"""What the streams show becomes rows for the view and news for people."""

import io

import pytest
from rich.console import Console

from demo.picture import News, Picture
from demo.view import LiveView, PlainView
from infrafabric.v1.status_pb2 import STATUS_BUSY, STATUS_HELP, STATUS_IDLE, AgentStatus
from infrafabric.v1.task_pb2 import (
    TASK_STATE_AVAILABLE,
    TASK_STATE_CLAIMED,
    TASK_STATE_COMPLETED,
    Task,
    TaskState,
)

AVAILABLE, CLAIMED, COMPLETED = TASK_STATE_AVAILABLE, TASK_STATE_CLAIMED, TASK_STATE_COMPLETED


def task(
    state: TaskState.ValueType,
    owner: str = "",
    attempt: int = 0,
    *,
    name: str = "t1",
    parked: bool = False,
    filler: bool = False,
) -> Task:
    return Task(
        task_id=name,
        title="Title",
        state=state,
        owner_swarm_id=owner,
        attempt=attempt,
        parked=parked,
        filler=filler,
        milestone_percent=50,
    )


@pytest.fixture
def picture() -> Picture:
    return Picture(["s1", "s2"])


def test_a_first_claim_is_no_news_and_a_later_one_is(picture: Picture) -> None:
    assert picture.see_task(task(AVAILABLE)) == []
    assert picture.see_task(task(CLAIMED, "s1", 1)) == []
    assert picture.see_task(task(AVAILABLE, attempt=1)) == [
        News("t1 was taken from s1: its lease ran out")
    ]
    assert picture.see_task(task(CLAIMED, "s2", 2)) == [News("t1 passes to s2, attempt 2")]


def test_a_failure_is_told_with_its_reason(picture: Picture) -> None:
    picture.see_task(task(CLAIMED, "s1", 1))
    failed = task(AVAILABLE, attempt=1)
    failed.failures, failed.reason = 1, "it came to nothing"
    assert picture.see_task(failed) == [News("s1 fails in t1: it came to nothing")]


def test_a_block_is_told_with_the_filler_and_the_way_back(picture: Picture) -> None:
    picture.see_task(task(CLAIMED, "s1", 1))
    assert picture.see_task(task(CLAIMED, "s1", 1, parked=True)) == [News("s1 is blocked in t1")]
    filler = task(CLAIMED, "s1", 1, name="f1", filler=True)
    assert picture.see_task(filler) == [News("s1 does f1 while t1 is blocked")]
    row = picture.row("s1")
    assert row.task is not None
    assert row.parked is not None
    assert (row.task.task_id, row.parked.task_id) == ("f1", "t1")
    assert picture.see_task(task(CLAIMED, "s1", 1)) == [News("s1 goes on with t1")]


def test_a_completion_is_told_once_and_counted(picture: Picture) -> None:
    picture.see_task(task(CLAIMED, "s1", 1))
    assert picture.see_task(task(COMPLETED, "s1", 1)) == [
        News("t1 done by s1: Title", routine=True)
    ]
    assert picture.see_task(task(COMPLETED, "s1", 1)) == []
    assert picture.row("s1").done == 1
    assert picture.finished


def test_without_a_board_nothing_is_finished(picture: Picture) -> None:
    assert not picture.finished


def test_a_call_for_help_is_told_once(picture: Picture) -> None:
    assert picture.see_status(AgentStatus(swarm_id="s1", status=STATUS_IDLE)) == [
        News("s1 is there", routine=True)
    ]
    call = AgentStatus(swarm_id="s1", status=STATUS_HELP, message="who knows SIP?")
    assert picture.see_status(call) == [News("s1 asks for help: who knows SIP?")]
    assert picture.see_status(call) == []


def test_a_swarm_waits_when_it_is_idle_since_some_time(picture: Picture) -> None:
    assert not picture.waits("s1")
    idle = AgentStatus(swarm_id="s1", status=STATUS_IDLE)
    picture.see_status(idle)
    assert not picture.waits("s1")
    idle.waiting_since_time.GetCurrentTime()
    picture.see_status(idle)
    assert picture.waits("s1")
    picture.see_status(AgentStatus(swarm_id="s1", status=STATUS_BUSY))
    assert not picture.waits("s1")


def test_the_live_view_fits_a_plain_terminal(picture: Picture) -> None:
    names = [f"session-{number}-long-n" for number in range(10)]
    picture = Picture(names)
    for name in names:
        picture.see_status(AgentStatus(swarm_id=name, status=STATUS_BUSY))
        held = task(CLAIMED, name, 1, name=f"P0.{name[8]}.1")
        held.title = "A title that is far too long for one line of a terminal of eighty columns"
        picture.see_task(held)
    console = Console(file=io.StringIO(), width=80, height=24, force_terminal=True)
    view = LiveView(console, picture, "work is simulated: 1 h = 1 s", clock=lambda: 0.0)
    for number in range(20):
        view.tell(News(f"news {number} " + "x" * 100))
    view.tell(News("a task is done", routine=True))
    with console.capture() as captured:
        console.print(view.render())
    lines = console.render_lines(view.render())
    assert len(lines) < 24
    assert "simulated" in captured.get()
    assert "news 19" in captured.get()
    assert "news 3" not in captured.get()
    assert "a task is done" not in captured.get()


def test_plain_lines_carry_the_time_since_the_start() -> None:
    moments = iter([100.0, 162.5])
    out = io.StringIO()
    view = PlainView(Console(file=out, width=40), clock=lambda: next(moments))
    with view.shown():
        view.tell(News("a [bold]line[/] that is longer than the width of the console"))
    assert out.getvalue() == (
        "[01:02] a [bold]line[/] that is longer than the width of the console\n"
    )
