"""What is printed: safe for a terminal, plain for a pipe, exact for a machine."""

import json
import sys
from datetime import UTC, datetime, timedelta

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from infrafabric.v1.coordinator_task_pb2 import CreateTasksResponse, TaskEvent
from infrafabric.v1.entry_pb2 import Entry
from infrafabric.v1.governor_service_pb2 import FindQualifiedSwarmResponse
from infrafabric.v1.match_pb2 import Candidate
from infrafabric.v1.task_pb2 import TASK_STATE_CLAIMED, Task, TaskState
from infrafabric_cli.layout import Column, text
from infrafabric_cli.names import age, hours, moment, short, span, value_of
from infrafabric_cli.output import as_json, plain, print_pairs, print_rows

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


def at(ago: timedelta) -> Timestamp:
    time = Timestamp()
    time.FromDatetime(NOW - ago)
    return time


@given(st.text())
def test_nothing_that_moves_a_cursor_reaches_the_terminal(words: str) -> None:
    shown = plain(words)
    assert shown.isprintable()
    assert "\n" not in shown


def test_plain_text_stays_what_it_is() -> None:
    assert plain("naïve 日本 [bold]x[/bold]") == "naïve 日本 [bold]x[/bold]"
    assert plain("a\x1b[31mb\u202ec\n") == "a\\x1b[31mb\\u202ec\\n"


COLUMNS = (*map(Column, ("id", "owner", "state")), text("title"))


def at_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "50")


def test_rows_to_a_pipe_are_lines_with_tabs(capsys: pytest.CaptureFixture[str]) -> None:
    assert not sys.stdout.isatty()
    print_rows((Column("a"), text("b")), [("1\t2", "x\ny"), ("", "z")], "nothing here")
    assert capsys.readouterr().out == "a\tb\n1\\t2\tx\\ny\n\tz\n"
    print_rows((Column("a"), text("b")), [], "nothing here")
    assert capsys.readouterr().out == "a\tb\n"


def test_u3_rows_on_a_terminal_leave_out_what_is_empty(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    at_a_terminal(monkeypatch)
    print_rows(COLUMNS, [("a" * 15, "", "available", "to say\x1b[2J hello to them")])
    shown = capsys.readouterr().out
    assert "owner" not in shown
    assert f"{'a' * 15}  available  to say\\x1b[2J hello to\n" in shown
    assert shown.splitlines()[-1].strip() == "them"


def test_u3_an_empty_list_says_what_there_is_none_of(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    at_a_terminal(monkeypatch)
    print_rows(COLUMNS, [], "no tasks; create one")
    assert capsys.readouterr().out == "no tasks; create one\n"


def test_u3_pairs_on_a_terminal_are_a_block(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    at_a_terminal(monkeypatch)
    print_pairs([("task", "a"), ("owner", ""), ("input", '{"a": "b\x07"}')])
    assert capsys.readouterr().out == 'task   a\ninput  {"a": "b\\x07"}\n'


def test_pairs_to_a_pipe_are_rows(capsys: pytest.CaptureFixture[str]) -> None:
    print_pairs([("task", "a"), ("owner", "")])
    assert capsys.readouterr().out == "field\tvalue\ntask\ta\nowner\t\n"


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
