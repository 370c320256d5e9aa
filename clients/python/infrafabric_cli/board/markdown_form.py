"""The Markdown form of a board: tables with a column `id`."""

import json
import re
from collections.abc import Iterable

from infrafabric.v1.task_pb2 import Task
from infrafabric_cli.board.fields import REQUIRED, written
from infrafabric_cli.board.model import BoardError, Cell, Entry, Problem

_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_RULE = re.compile(r"\s*\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*")
_BAR = re.compile(r"(?<!\\)((?:\\\\)*)\|")
_ESCAPED = re.compile(r"\\([\\|`\N{EN DASH}\N{EM DASH}-])")
_NOTHING = frozenset({"", "-", "\N{EN DASH}", "\N{EM DASH}"})
_ALWAYS = ("id", "title", "hours", "depends", "capabilities")


def read_markdown(text: str) -> list[Entry]:
    """Return the entries of all tables that have a column `id`.

    Raises:
        BoardError: a table has a column twice, or a row more cells than its table columns.
    """
    lines = text.split("\n")
    entries: list[Entry] = []
    fence = ""
    number = 0
    while number < len(lines):
        line = lines[number]
        number += 1
        if match := _FENCE.match(line):
            mark = match.group(1)
            if not fence:
                fence = mark
            elif mark.startswith(fence):
                fence = ""
            continue
        if fence or number == len(lines) or "|" not in line or not _RULE.fullmatch(lines[number]):
            continue
        header = [cell.lower() for cell in _cells(line)]
        number += 1
        first = number
        while number < len(lines) and "|" in lines[number]:
            number += 1
        if "id" in header:
            entries += _rows(header, lines[first:number], first + 1)
    return entries


def write_markdown(tasks: Iterable[Task]) -> str:
    """Return a board as one table that reads back as the same tasks.

    Line breaks and leading or trailing spaces of a title do not survive: a cell has none.
    """
    rows = [written(task) for task in tasks]
    names = [*_ALWAYS, *(name for name in _order(rows) if name not in _ALWAYS)]
    lines = [_line(names), _line("---" for _ in names)]
    lines += [_line(_cell(row.get(name, "")) for name in names) for row in rows]
    return "\n".join(lines) + "\n"


def _rows(header: list[str], lines: list[str], number: int) -> list[Entry]:
    for name in header:
        if name and header.count(name) > 1:
            raise BoardError([Problem(number - 2, name[:40], "is a column twice")])
    entries = []
    for line in lines:
        cells = _cells(line)
        if len(cells) > len(header):
            rule = f"the row has {len(cells)} cells, its table {len(header)} columns"
            raise BoardError([Problem(number, "", rule)])
        values = dict(zip(header, cells, strict=False))
        entries.append(
            Entry(
                number,
                {name: Cell(number, value) for name, value in values.items() if name},
            )
        )
        number += 1
    return entries


def _cells(line: str) -> list[str]:
    inner = line.strip().removeprefix("|")
    parts = _BAR.sub("\\1\n", inner).split("\n")
    if len(parts) > 1 and not parts[-1].strip():
        parts.pop()
    return [_unescaped(part.strip()) for part in parts]


def _unescaped(cell: str) -> str:
    if cell in _NOTHING:
        return ""
    if len(cell) > 1 and cell[0] == cell[-1] == "`" and "`" not in cell[1:-1]:
        cell = cell[1:-1].strip()
    return _ESCAPED.sub(r"\1", cell)


def _order(rows: Iterable[dict[str, object]]) -> list[str]:
    names: dict[str, None] = {}
    for row in rows:
        names |= dict.fromkeys(row)
    return [name for name in names if name not in REQUIRED]


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(value: object) -> str:
    if isinstance(value, dict):
        text = json.dumps(value, ensure_ascii=False)
    elif isinstance(value, list):
        text = ", ".join(value)
    else:
        text = " ".join(str(value).split())
    escaped = re.sub(r"([\\|`])", r"\\\1", text)
    return f"\\{escaped}" if escaped in _NOTHING - {""} else escaped
