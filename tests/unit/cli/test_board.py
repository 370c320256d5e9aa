"""Boards: what is read, what is refused and where it says the fault is, and that it comes back."""

import time
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infrafabric.v1.task_pb2 import Dispatch, Task, TaskState
from infrafabric.values import from_struct, to_struct
from infrafabric_cli import board as board_package
from infrafabric_cli.board.fields import SETTERS
from infrafabric_cli.board.markdown_form import write_markdown
from infrafabric_cli.board.model import MAX_BYTES, MAX_TASKS, BoardError
from infrafabric_cli.board.reading import read_board
from infrafabric_cli.board.yaml_form import write_yaml

FULL = """\
tasks:
  - id: P0.1.10
    title: "event bus: etcd & NATS"
    hours: 1.5
    capabilities: [bus, integration/etcd]
    priority: -3
    filler: no
    max_cost: 2.50
    model: large-1
    dispatch: manual
    deadline: 2026-01-31T12:00:00+01:00
    progress_timeout_minutes: 30
    max_attempts: 5
    input:
      pages: 3
      share: 0.5
      code: "007"
      version: 1.10
      deep: [{ok: true, none: null}, yes, 2026-01-31]
  - id: P0.1.2
    title: atomic claim
    depends: [P0.1.10]
"""

TABLE = """\
# The board

Some words | with a bar.

| Title | ID | hours | depends | capabilities | filler | input |
|:--|---|--:|---|---|---|---|
| event bus \\| etcd | `P0.1.10` | 1.5 | \u2013 | bus, integration/etcd | no | {"pages": 3} |
| atomic claim | P0.1.2 | | P0.1.10 | - | yes |

| name | other |
|------|-------|
| not  | a task |

```
| id | title |
|----|-------|
| x  | in a code block |
```

| id | title |
|---|---|
| P9 | second table |
"""


def tasks_of(name: str, text: str | bytes) -> list[Task]:
    raw = text.encode() if isinstance(text, str) else text
    return [each.task for each in read_board(name, raw)]


def problems_of(name: str, text: str | bytes) -> list[str]:
    with pytest.raises(BoardError) as caught:
        tasks_of(name, text)
    return caught.value.lines(name)


def test_yaml_reads_every_field() -> None:
    first, second = tasks_of("b.yaml", FULL)
    assert first.task_id == "P0.1.10", "an id is text, not a number"
    assert first.title == "event bus: etcd & NATS"
    assert first.estimated_duration.ToSeconds() == 5400
    assert list(first.required_capabilities) == ["bus", "integration/etcd"]
    assert (first.priority, first.filler, first.max_cost_micros) == (-3, False, 2_500_000)
    assert (first.preferred_model, first.dispatch) == ("large-1", Dispatch.DISPATCH_MANUAL)
    assert first.deadline_time.ToDatetime(UTC) == datetime(2026, 1, 31, 11, tzinfo=UTC)
    assert first.progress_timeout.ToSeconds() == 1800
    assert first.retry_policy.max_attempts == 5
    assert from_struct(first.input) == {
        "pages": 3,
        "share": 0.5,
        "code": "007",
        "version": 1.1,
        "deep": [{"ok": True, "none": None}, True, "2026-01-31"],
    }
    assert list(second.dependencies) == ["P0.1.10"]
    assert not second.HasField("max_cost_micros")


def test_markdown_reads_every_table_with_an_id() -> None:
    first, second, third = tasks_of("b.md", TABLE)
    assert (first.task_id, first.title) == ("P0.1.10", "event bus | etcd")
    assert from_struct(first.input) == {"pages": 3}
    assert (list(first.dependencies), list(second.dependencies)) == ([], ["P0.1.10"])
    assert (first.filler, second.filler) == (False, True)
    assert third.task_id == "P9"


def test_both_forms_of_the_documentation_are_the_same_board() -> None:
    text = board_package.__doc__ or ""
    yaml_form = "tasks:" + text.split("    tasks:")[1].split("\n\n")[0].replace("\n    ", "\n")
    markdown_form = "|" + text.split("    |", 1)[1].split("\n\n")[0].replace("\n    ", "\n")
    from_yaml = tasks_of("b.yaml", yaml_form)
    from_markdown = tasks_of("b.md", markdown_form)
    assert [task.task_id for task in from_yaml] == ["P0.1.1", "P0.1.2"]
    assert from_markdown[1].dependencies == from_yaml[1].dependencies
    assert from_markdown[0].required_capabilities == from_yaml[0].required_capabilities


def test_documentation_names_every_field() -> None:
    text = board_package.__doc__ or ""
    assert [name for name in SETTERS if f"\n    {name} " not in text] == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("tasks:\n  - title: x", "b.yaml:2: id: is required"),
        ("tasks:\n  - id: a", "b.yaml:2: title: is required"),
        ("tasks:\n  - id: a b\n    title: x", "b.yaml:2: id: must be 1 to 128 characters"),
        ("tasks:\n  - id: a\n    title: x\n    hour: 2", "b.yaml:4: hour: is not a field"),
        ("tasks:\n  - id: a\n    title: x\n    hours: 2h", "b.yaml:4: hours: must be a number of"),
        ("tasks:\n  - id: a\n    title: x\n    hours: 721", "b.yaml:4: hours: must be a number of"),
        ("tasks:\n  - id: a\n    title: x\n    priority: 1.5", "b.yaml:4: priority: must be a wh"),
        ("tasks:\n  - id: a\n    title: x\n    priority: 1001", "b.yaml:4: priority: must be a w"),
        ("tasks:\n  - id: a\n    title: x\n    max_cost: 1e3", "b.yaml:4: max_cost: must be a nu"),
        ("tasks:\n  - id: a\n    title: x\n    filler: maybe", "b.yaml:4: filler: must be yes or"),
        ("tasks:\n  - id: a\n    title: x\n    dispatch: now", "b.yaml:4: dispatch: must be one "),
        ("tasks:\n  - id: a\n    title: x\n    deadline: soon", "b.yaml:4: deadline: must be a t"),
        ("tasks:\n  - id: a\n    title: x\n    depends: {a: b}", "b.yaml:4: depends: must not be"),
        ("tasks:\n  - id: a\n    title: x\n    depends: [[a]]", "b.yaml:4: depends: must be a li"),
        (
            "tasks:\n  - id: a\n    title: x\n    input: text",
            "b.yaml:4: input: must be a JSON obje",
        ),
        ("tasks:\n  - id: a\n    title: x\n    input: [1]", "b.yaml:4: input: must be a mapping"),
        ("tasks:\n  - id: a\n    title: x\n    input: {n: .inf}", "b.yaml:4: input: a number mus"),
        ("tasks:\n  - id: a\n    title: x\n    input: {n: 9007199254740993}", "b.yaml:4: input"),
        ("tasks:\n  - id: a\n    id: b\n    title: x", "b.yaml:3: id: is given twice"),
        ("tasks:\n  - id: a\n    title: [x]", "b.yaml:3: title: must be a single value"),
        ("tasks:\n  - just text", "b.yaml:2: tasks: each must be a mapping"),
        ("tasks: {}", "b.yaml:1: tasks: must be a list"),
        ("board: []", "b.yaml:1: board: is not known here"),
        ("- id: a", "b.yaml:1: must be a mapping with the list `tasks`"),
        ("tasks: []", "b.yaml:1: has no tasks"),
        ("", "b.yaml:1: has no tasks"),
        ("tasks:\n  - id: [", "b.yaml:2: not YAML: "),
        ("tasks:\n\t- id: a", "b.yaml:2: not YAML: "),
        ("tasks:\n  - id: a\n    title: \x00", "b.yaml:3: has a character that YAML forbids"),
        ("--- a\n--- b", "b.yaml:2: not YAML: "),
        ("tasks:\n  - &x {id: a, title: b}", "b.yaml:2: must be without anchors and aliases"),
        ("tasks:\n  - id: a\n    title: x\n    ? [a]\n    : b", "b.yaml:4: the name of a field "),
    ],
)
def test_yaml_that_breaks_a_rule_names_its_place(text: str, problem: str) -> None:
    assert problems_of("b.yaml", text)[0].startswith(problem)


def test_tags_of_yaml_build_nothing() -> None:
    text = "tasks:\n  - !!python/object:os.system {id: a, title: !!python/name:os.system x}"
    assert tasks_of("b.yaml", text) == [Task(task_id="a", title="x")]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("| id | title |\n|---|---|\n| a | x | y |", "b.md:3: the row has 3 cells, its table 2"),
        ("| id | id | title |\n|---|---|---|\n| a | b | x |", "b.md:1: id: is a column twice"),
        ("| id | title |\n|---|---|\n| a |", "b.md:3: title: is required"),
        ("x\n\n| id | titel |\n|---|---|\n| a | x |", "b.md:5: titel: is not a field of a board"),
        ("| id | title | input |\n|---|---|---|\n| a | x | {1} |", "b.md:3: input: must be a JSON"),
        ('| id | title | input |\n|---|---|---|\n| a | x | {"n": NaN} |', "b.md:3: input: must "),
        ("no table at all", "b.md:1: has no tasks"),
        ("| id | title |\n|---|---|\n| a | x |\n| a | y |", "b.md:4: id: a is on line 3 already"),
        (
            "|id|title|depends|\n|-|-|-|\n|a|x|b|\n|b|x|c, d|\n|c|x|b|\n|d|x| |",
            "b.md:4: depends: dependencies form a cycle: b -> c -> b",
        ),
    ],
)
def test_markdown_that_breaks_a_rule_names_its_place(text: str, problem: str) -> None:
    assert problems_of("b.md", text)[0].startswith(problem)


def test_names_in_markdown_may_be_written_as_code() -> None:
    text = "|id|title|depends|capabilities|\n|-|-|-|-|\n|`a`|x|`b`, c|`python`, git|"
    (task,) = tasks_of("b.md", text)
    assert (task.task_id, list(task.dependencies)) == ("a", ["b", "c"])
    assert list(task.required_capabilities) == ["python", "git"]


def test_all_problems_are_told_at_once_up_to_twenty() -> None:
    text = "tasks:\n" + "".join(f"  - id: t{n}\n    hours: x\n" for n in range(15))
    lines = problems_of("b.yaml", text)
    assert lines[0].startswith("b.yaml:2: title: is required")
    assert lines[1].startswith("b.yaml:3: hours: ")
    assert (len(lines), lines[-1]) == (21, "b.yaml: 10 problems more")


def test_text_that_is_not_utf8_names_its_line() -> None:
    assert problems_of("b.yaml", b"tasks:\n  - id: a\n    title: \xff") == [
        "b.yaml:3: must be UTF-8 text"
    ]


def test_byte_order_mark_is_no_part_of_the_text() -> None:
    assert tasks_of("b.yaml", b"\xef\xbb\xbftasks: [{id: a, title: b}]")[0].task_id == "a"


def test_size_is_bounded() -> None:
    assert "must have at most" in problems_of("b.yaml", b"#" * (MAX_BYTES + 1))[0]
    many = "tasks:\n" + "".join(f"- {{id: t{n}, title: x}}\n" for n in range(MAX_TASKS + 1))
    assert problems_of("b.yaml", many) == [
        f"b.yaml:{MAX_TASKS + 2}: a board has at most 1000 tasks, this one has 1001"
    ]


def test_traps_of_yaml_are_refused_at_once() -> None:
    bomb = "a: &a [x]\n" + "".join(
        f"{chr(98 + n)}: &{chr(98 + n)} [*{chr(97 + n)}, *{chr(97 + n)}]\n" for n in range(20)
    )
    deep = "tasks: " + "[" * 500_000
    wide = "tasks: [" + "a," * 500_000 + "]"
    started = time.process_time()
    assert problems_of("b.yaml", bomb) == ["b.yaml:1: must be without anchors and aliases"]
    assert problems_of("b.yaml", deep) == ["b.yaml:1: must be nested at most 32 deep"]
    assert problems_of("b.yaml", wide) == ["b.yaml:1: must have at most 200000 values"]
    assert problems_of("b.md", "| id | title | input |\n|-|-|-|\n|a|b|" + "[" * 100_000)
    # Refused while reading: what is compared with is reading the widest of them to its end.
    assert time.process_time() - started < 20


ID = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:\-]{0,20}", fullmatch=True)
CAPABILITY = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:\-/]{0,20}", fullmatch=True)
PRINTABLE = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=40
)
VALUE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | PRINTABLE
    | st.floats(allow_nan=False, allow_infinity=False, width=32).map(lambda x: x + 0.0),
    # -0.0 is 0 to YAML and JSON alike; adding zero makes it that.
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(PRINTABLE, inner, max_size=3),
    max_leaves=6,
)


@st.composite
def boards(draw: st.DrawFn, titles: st.SearchStrategy[str]) -> list[Task]:
    ids = draw(st.lists(ID, min_size=1, max_size=4, unique=True))
    tasks = []
    for number, task_id in enumerate(ids):
        earlier = st.sampled_from([*ids[:number], "elsewhere"])
        task = Task(
            task_id=task_id,
            title=draw(titles),
            dependencies=draw(st.lists(earlier, unique=True, max_size=3)),
            required_capabilities=sorted(draw(st.sets(CAPABILITY, max_size=3))),
            priority=draw(st.integers(-1000, 1000)),
            filler=draw(st.booleans()),
            max_cost_micros=draw(st.none() | st.integers(0, 10**12)),
            preferred_model=draw(ID | st.just("")),
            dispatch=draw(
                st.sampled_from(
                    [
                        Dispatch.DISPATCH_UNSPECIFIED,
                        Dispatch.DISPATCH_BROADCAST,
                        Dispatch.DISPATCH_MANUAL,
                    ]
                )
            ),
        )
        if hours := draw(st.integers(0, 720 * 10**6)):
            task.estimated_duration.FromMicroseconds(hours * 3_600)
        if minutes := draw(st.integers(0, 43_200)):
            task.progress_timeout.FromSeconds(60 * minutes)
        if attempts := draw(st.integers(0, 100)):
            task.retry_policy.max_attempts = attempts
        if draw(st.booleans()):
            task.deadline_time.FromDatetime(draw(st.datetimes(timezones=st.just(UTC))))
        if values := draw(st.dictionaries(PRINTABLE, VALUE, max_size=3)):
            task.input.CopyFrom(to_struct(values))
        tasks.append(task)
    return tasks


TITLE = PRINTABLE.map(str.strip).filter(bool)


@settings(deadline=None)
@given(boards(TITLE))
def test_d5_yaml_that_is_written_is_read_back(board: list[Task]) -> None:
    assert tasks_of("b.yaml", write_yaml(board)) == board


@settings(deadline=None)
@given(boards(TITLE.map(lambda text: " ".join(text.split())).filter(bool)))
def test_d5_markdown_that_is_written_is_read_back(board: list[Task]) -> None:
    assert tasks_of("b.md", write_markdown(board)) == board


def test_export_shows_where_the_work_stands_and_import_passes_it_over() -> None:
    task = Task(
        task_id="a",
        title="x",
        state=TaskState.TASK_STATE_CLAIMED,
        owner_swarm_id="s1",
        milestone_percent=50,
    )
    for name, text in (("b.yaml", write_yaml([task])), ("b.md", write_markdown([task]))):
        assert all(word in text for word in ("claimed", "s1", "50"))
        assert tasks_of(name, text) == [Task(task_id="a", title="x")]


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(["b.yaml", "b.md"]), st.binary(max_size=300))
def test_garbage_never_ends_in_a_traceback(name: str, raw: bytes) -> None:
    _read_or_refuse(name, raw)


WORDS = st.sampled_from(
    [
        *("tasks", ":", " ", "\n", "\n  - ", "\n    ", "id", "title", "hours", "input", "depends"),
        *("a", "1", "-", "[", "]", "{", "}", ",", "&a", "*a", "!!int", "!!float", "!!binary"),
        *("!!timestamp", "|", "|-|-|\n", "| id | title | input |\n|-|-|-|\n", '"', "'", "#", "?"),
        *("<<", "0x", "1:30", "null", "0b2", "---", "...", "\\", "`", "```\n", "%YAML 9.9\n"),
        *("\t", "9" * 5000, "\u2028", "\ufeff"),
    ]
)


@settings(max_examples=1000, deadline=None)
@given(st.sampled_from(["b.yaml", "b.md"]), st.lists(WORDS, max_size=25))
def test_near_boards_never_end_in_a_traceback(name: str, words: list[str]) -> None:
    _read_or_refuse(name, "".join(words).encode())


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(["b.yaml", "b.md"]), st.data())
def test_boards_with_one_wrong_byte_never_end_in_a_traceback(
    name: str, data: st.DataObject
) -> None:
    raw = bytearray((FULL if name == "b.yaml" else TABLE).encode())
    raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    _read_or_refuse(name, bytes(raw))


def _read_or_refuse(name: str, raw: bytes) -> None:
    try:
        tasks = tasks_of(name, raw)
    except BoardError as error:
        problems = error.problems
    else:
        assert all(task.task_id and task.title for task in tasks)
        return
    assert problems
    assert all(problem.line >= 1 and problem.rule for problem in problems)
