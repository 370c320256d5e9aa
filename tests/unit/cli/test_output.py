"""What is printed: safe for a terminal, plain for a pipe, exact for a machine."""

import io
import json
import sys
from datetime import UTC, datetime, timedelta

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from infrafabric.v1.coordinator_task_pb2 import CreateTasksResponse, TaskEvent
from infrafabric.v1.entry_pb2 import Entry
from infrafabric.v1.governor_service_pb2 import FindQualifiedSwarmResponse
from infrafabric.v1.match_pb2 import Candidate
from infrafabric.v1.notify_service_pb2 import StatusEvent
from infrafabric.v1.status_pb2 import STATUS_BUSY, STATUS_IDLE, AgentStatus, BroadcastMessage
from infrafabric.v1.task_pb2 import TASK_STATE_CLAIMED, Task, TaskState
from infrafabric.v1.watch_pb2 import Gap, SnapshotEnd
from infrafabric_cli.names import age, hours, moment, short, span, value_of
from infrafabric_cli.output import as_json, plain, print_rows
from infrafabric_cli.status import HEADERS, StatusBoard, line, row

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


def at(ago: timedelta) -> Timestamp:
    time = Timestamp()
    time.FromDatetime(NOW - ago)
    return time


@given(st.text())
def test_nothing_that_moves_a_cursor_reaches_the_terminal(text: str) -> None:
    shown = plain(text)
    assert shown.isprintable()
    assert "\n" not in shown


def test_plain_text_stays_what_it_is() -> None:
    assert plain("naïve 日本 [bold]x[/bold]") == "naïve 日本 [bold]x[/bold]"
    assert plain("a\x1b[31mb\u202ec\n") == "a\\x1b[31mb\\u202ec\\n"


def test_rows_to_a_pipe_are_lines_with_tabs(capsys: pytest.CaptureFixture[str]) -> None:
    assert not sys.stdout.isatty()
    print_rows(("a", "b"), [("1\t2", "x\ny"), ("", "z")])
    assert capsys.readouterr().out == "a\tb\n1\\t2\tx\\ny\n\tz\n"


def test_u3_rows_on_a_terminal_leave_out_what_is_empty(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "40")
    print_rows(("id", "owner", "state", "title"), [("a" * 30, "", "available", "to say hello")])
    shown = capsys.readouterr().out
    assert "owner" not in shown
    assert "available" in shown
    # Folded, so that it can still be copied.
    assert shown.count("a" * 5) >= 2
    assert "…" not in shown
    print_rows(("id", "owner"), [])
    assert capsys.readouterr().out == "nothing\n"


def test_json_has_whole_numbers_and_defaults() -> None:
    task = Task(task_id="a", attempt=2**40, max_cost_micros=2_500_000)
    task.input.update({"n": 3, "share": 0.5})
    values = as_json(task)
    assert values["attempt"] == 2**40
    assert values["max_cost_micros"] == 2_500_000
    assert values["input"] == {"n": 3, "share": 0.5}
    assert values["priority"] == 0
    assert values["state"] == "TASK_STATE_UNSPECIFIED"
    assert "result" not in values
    assert "max_cost_micros" not in as_json(Task())


def test_json_has_whole_numbers_in_messages_within_messages() -> None:
    board = CreateTasksResponse(tasks=[Task(attempt=7), Task(attempt=8)])
    assert [task["attempt"] for task in as_json(board)["tasks"]] == [7, 8]
    event = TaskEvent(cursor="9", changed=Task(task_id="a", attempt=5))
    assert as_json(event)["changed"]["attempt"] == 5
    found = FindQualifiedSwarmResponse(candidates=[Candidate(cost_per_hour_micros=4, match=0.5)])
    assert as_json(found)["candidates"][0]["cost_per_hour_micros"] == 4


def test_json_of_every_message_is_json() -> None:
    entry = Entry(sequence=1, decide_time=at(timedelta()), body='{"a": "\\u0000"}')
    entry.details.update({"deep": [{"n": 1}]})
    assert json.loads(json.dumps(as_json(entry))) == as_json(entry)
    assert as_json(entry)["decide_time"] == "2026-01-31T12:00:00Z"


def test_names_are_short_both_ways() -> None:
    assert short(TaskState.DESCRIPTOR, TASK_STATE_CLAIMED) == "claimed"
    assert value_of(TaskState.DESCRIPTOR, "claimed") == TASK_STATE_CLAIMED
    assert short(TaskState.DESCRIPTOR, 99) == "99"
    for wrong in ("unspecified", "TASK_STATE_CLAIMED", "nonsense", ""):
        with pytest.raises(ValueError, match="must be one of blocked, available, claimed"):
            value_of(TaskState.DESCRIPTOR, wrong)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (86_400 * 3, "3 d")],
)
def test_spans_are_in_the_unit_that_suits_them(seconds: int, text: str) -> None:
    assert span(seconds) == text


def test_times_that_are_not_set_are_empty() -> None:
    assert (moment(Timestamp()), age(Timestamp(), NOW), hours(Duration())) == ("", "", "")
    assert moment(at(timedelta(seconds=1))) == "2026-01-31 11:59:59Z"
    assert age(at(timedelta(minutes=5)), NOW) == "5 min"
    assert age(at(timedelta(minutes=-5)), NOW) == "0 s", "a clock that is ahead"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(3600, "1"), (5400, "1.5"), (36_000, "10"), (360_000, "100"), (36, "0.01")],
)
def test_hours_are_exact(seconds: int, text: str) -> None:
    assert hours(Duration(seconds=seconds)) == text


def snapshot(swarm_id: str) -> StatusEvent:
    return StatusEvent(snapshot=AgentStatus(swarm_id=swarm_id, status=STATUS_IDLE))


END = StatusEvent(cursor="1", snapshot_end=SnapshotEnd(count=2))


def test_live_status_follows_the_watch() -> None:
    board = StatusBoard()
    complete = []
    for event in (snapshot("s1"), snapshot("s2"), END):
        board.apply(event)
        complete.append(board.complete)
    assert complete == [False, False, True]
    board.apply(StatusEvent(changed=AgentStatus(swarm_id="s1", status=STATUS_BUSY)))
    board.apply(StatusEvent(removed_swarm_id="s2"))
    assert {name: agent.status for name, agent in board.agents.items()} == {"s1": STATUS_BUSY}


def test_n10_live_status_keeps_what_it_shows_until_a_new_snapshot_is_complete() -> None:
    board = StatusBoard()
    for event in (snapshot("s1"), END, StatusEvent(gap=Gap()), snapshot("s2")):
        board.apply(event)
    assert (list(board.agents), board.complete) == (["s1"], False)
    board.apply(END)
    assert list(board.agents) == ["s2"]


def test_u3_a_narrow_terminal_shows_what_matters_most() -> None:
    agent = AgentStatus(
        swarm_id="session-3-h323",
        status=STATUS_BUSY,
        last_task="P0.1",
        message="no key",
        tasks_completed=4321,
    )
    board = StatusBoard()
    for event in (StatusEvent(snapshot=agent), END):
        board.apply(event)
    narrow, wide = (_shown(board, width) for width in (50, 120))
    for word in ("session-3-h323", "busy", "P0.1", "no key"):
        assert word in narrow
        assert word in wide
    assert "4321" in wide
    assert "4321" not in narrow
    assert all(len(text) <= 50 for text in narrow.splitlines())


def _shown(board: StatusBoard, width: int) -> str:
    console = Console(width=width, file=io.StringIO())
    with console.capture() as captured:
        console.print(board.view(NOW, width))
    return captured.get()


def test_status_rows_and_lines() -> None:
    agent = AgentStatus(
        swarm_id="s1",
        status=STATUS_IDLE,
        status_time=at(timedelta(hours=3)),
        last_task="P0.1",
        tasks_completed=4,
        cost_spent_micros=2_500_000,
        queue_position=2,
    )
    assert row(agent, NOW) == ("s1", "idle", "3 h", "P0.1", "2", "4", "2.50", "")
    assert len(row(agent, NOW)) == len(HEADERS)
    assert line(StatusEvent(changed=agent), NOW) == "s1: idle (P0.1), since 3 h"
    assert line(StatusEvent(removed_swarm_id="s1"), NOW) == "s1: deregistered"
    said = StatusEvent(broadcast=BroadcastMessage(message="all hands"))
    assert line(said, NOW) == "to everyone: all hands"
    assert line(END, NOW) == ""
