"""Reads a board from a file's bytes, in either form, and checks what can be checked here."""

from collections.abc import Iterable
from graphlib import CycleError, TopologicalSorter
from pathlib import PurePath

from infrafabric.v1.task_pb2 import Task
from infrafabric_cli.board.fields import INFORMATIVE, REQUIRED, SETTERS
from infrafabric_cli.board.markdown_form import read_markdown
from infrafabric_cli.board.model import (
    MAX_BYTES,
    MAX_TASKS,
    BoardError,
    BoardTask,
    Entry,
    Problem,
)
from infrafabric_cli.board.yaml_form import read_yaml

_MARKDOWN = frozenset({".md", ".markdown"})


def read_board(name: str, raw: bytes) -> list[BoardTask]:
    """Return the tasks of a file.

    Args:
        name: name of the file; `.md` and `.markdown` are Markdown, all others YAML.
        raw: its content.

    Raises:
        BoardError: it is no board; every problem that was found is in it.
    """
    if len(raw) > MAX_BYTES:
        raise BoardError([Problem(1, "", f"must have at most {MAX_BYTES} bytes, has {len(raw)}")])
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise BoardError([Problem(line, "", "must be UTF-8 text")]) from error
    markdown = PurePath(name).suffix.lower() in _MARKDOWN
    return _checked(read_markdown(text) if markdown else read_yaml(text))


def _checked(entries: list[Entry]) -> list[BoardTask]:
    if not entries:
        raise BoardError([Problem(1, "", "has no tasks")])
    if len(entries) > MAX_TASKS:
        line = entries[MAX_TASKS].line
        rule = f"a board has at most {MAX_TASKS} tasks, this one has {len(entries)}"
        raise BoardError([Problem(line, "", rule)])
    problems: list[Problem] = []
    tasks = [_task(entry, problems) for entry in entries]
    problems += _twice(tasks)
    problems += _cycles(tasks)
    if problems:
        raise BoardError(problems)
    return tasks


def _task(entry: Entry, problems: list[Problem]) -> BoardTask:
    task = Task()
    for name, cell in entry.cells.items():
        setter = SETTERS.get(name)
        if setter is None:
            if name not in INFORMATIVE:
                rule = f"is not a field of a board; there are {', '.join(SETTERS)}"
                problems.append(Problem(cell.line, name[:40], rule))
            continue
        if cell.value in ("", [], {}):
            continue
        try:
            setter(task, cell.value)
        except ValueError as error:
            problems.append(Problem(cell.line, name, str(error)))
    problems += [
        Problem(entry.line, name, "is required")
        for name in REQUIRED
        if name not in entry.cells or entry.cells[name].value == ""
    ]
    return BoardTask(entry.line, task, {name: cell.line for name, cell in entry.cells.items()})


def _cycles(tasks: Iterable[BoardTask]) -> list[Problem]:
    by_id = {each.task.task_id: each for each in tasks}
    waits = {name: each.task.dependencies for name, each in by_id.items()}
    try:
        TopologicalSorter(waits).prepare()
    except CycleError as error:
        # It comes with each task before the one that waits for it; the board says it as they wait.
        circle = list(reversed(error.args[1]))
        first = by_id[circle[0]]
        rule = f"dependencies form a cycle: {' -> '.join(circle)}"
        return [Problem(first.lines["depends"], "depends", rule)]
    return []


def _twice(tasks: Iterable[BoardTask]) -> list[Problem]:
    first: dict[str, int] = {}
    problems = []
    for each in tasks:
        task_id = each.task.task_id
        earlier = first.setdefault(task_id, each.line)
        if task_id and earlier != each.line:
            problems.append(Problem(each.line, "id", f"{task_id} is on line {earlier} already"))
    return problems
