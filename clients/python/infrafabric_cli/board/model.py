"""A board that was read, and what can be wrong with one."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from infrafabric.v1.task_pb2 import Task

MAX_TASKS = 1_000
MAX_BYTES = 3 * 1024 * 1024

# More problems than these are not shown: they tend to have one cause.
_MAX_SHOWN = 20

Value = str | list[str] | dict[str, object]


@dataclass(frozen=True, slots=True)
class Cell:
    """One value of an entry, and the line that it stands on."""

    line: int
    value: Value


@dataclass(frozen=True, slots=True)
class Entry:
    """One task as it is written: its line, and its values by field."""

    line: int
    cells: dict[str, Cell] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Problem:
    """One rule that a file breaks; `field` is empty for the file as such."""

    line: int
    field: str
    rule: str


@dataclass(frozen=True, slots=True)
class BoardTask:
    """A task, and where in the file it comes from.

    Attributes:
        line: line of the task.
        task: the task.
        lines: line of each field.
    """

    line: int
    task: Task
    lines: dict[str, int]


class BoardError(Exception):
    """A file is no board; `problems` says why, in the order of their lines."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = sorted(problems, key=lambda problem: problem.line)
        super().__init__("; ".join(self.lines("board")))

    def lines(self, name: str) -> list[str]:
        """Return the problems for people, each as `file:line: field: rule`."""
        shown = [
            f"{name}:{problem.line}: {problem.field}{': ' if problem.field else ''}{problem.rule}"
            for problem in self.problems[:_MAX_SHOWN]
        ]
        more = len(self.problems) - len(shown)
        return [*shown, f"{name}: {more} problems more"] if more else shown
