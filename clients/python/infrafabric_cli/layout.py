"""How rows fit a terminal: a table, a table under the first cells, or a block for each row.

One rule goes for all of them: a text breaks at its spaces, and nothing else breaks. An id, a
state or a number is in one piece, so that it can be read and copied, however narrow the
terminal is; what is longer than a line is left to the terminal, which copies it as a whole.

    swarm   status  done  message          swarm                       swarm    session-4-sip
    ------  ------  ----  ---------          status  done  message     status   blocked
    anna    idle       4                     ------  ----  ---------   done     3
    ben     busy       3  reads the        session-4-sip               message  the gatekeeper
                          papers             busy       3  reads                is down
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from itertools import chain, repeat, zip_longest

from rich.cells import cell_len

Row = Sequence[str]

# A narrower text is a column of single words; then another form can be read better.
_READABLE = 16
_GAP = "  "


class Kind(Enum):
    """What the cells of a column are."""

    WORD = auto()
    """An id, a state or a time: in one piece."""
    NUMBER = auto()
    """In one piece as well, and to the right."""
    TEXT = auto()
    """Words, or ids with spaces between them."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a list.

    Attributes:
        name: its header, also in a pipe.
        kind: what its cells are.
    """

    name: str
    kind: Kind = Kind.WORD


def number(name: str) -> Column:
    """Return a column of numbers."""
    return Column(name, Kind.NUMBER)


def text(name: str) -> Column:
    """Return a column of texts."""
    return Column(name, Kind.TEXT)


def arrange(columns: Sequence[Column], rows: Sequence[Row], width: int) -> list[str]:
    """Return rows as the lines of the first form that fits, without columns that are empty.

    Args:
        columns: what the cells are; the first of words names the row.
        rows: a cell for each column; every character of them is printable.
        width: columns of the terminal.

    Returns:
        The lines; one is wider than the terminal only by a piece that is.
    """
    columns, rows = _used(columns, rows)
    widths = _widths(columns, rows, width)
    if widths is not None:
        return list(_table(columns, rows, widths))
    named = next((at for at, each in enumerate(columns) if each.kind is Kind.WORD), None)
    if named is not None:
        heads, others, cells = _beside(columns, rows, named)
        widths = _widths(others, cells, width - len(_GAP))
        if widths:
            return list(_headed(heads, others, cells, widths))
    lines: list[str] = []
    for row in rows:
        pairs = [(column.name, cell) for column, cell in zip(columns, row, strict=True)]
        lines += ["", *block(pairs, width)] if lines else block(pairs, width)
    return lines


def fits(columns: Sequence[Column], rows: Sequence[Row], width: int) -> bool:
    """Return whether rows can be a table in a terminal of so many columns."""
    return _widths(*_used(columns, rows), width) is not None


def block(pairs: Sequence[tuple[str, str]], width: int) -> list[str]:
    """Return names and values, one below the other, without values that are empty.

    Args:
        pairs: the names and the values; every character of them is printable.
        width: columns of the terminal.
    """
    indent = max((cell_len(name) for name, _ in pairs), default=0) + len(_GAP)
    lines = []
    for name, value in pairs:
        if not value:
            continue
        names = chain([name], repeat(""))
        parts = wrap(value, width - indent)
        lines += [_padded(each, indent) + part for each, part in zip(names, parts, strict=False)]
    return lines


def wrap(words: str, width: int) -> list[str]:
    """Return a text as lines, broken at spaces; one is wider than `width` only by a word."""
    if cell_len(words) <= width:
        return [words]
    lines: list[str] = []
    for word in words.split():
        if lines and cell_len(lines[-1]) + 1 + cell_len(word) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines or [""]


def _used(columns: Sequence[Column], rows: Sequence[Row]) -> tuple[Sequence[Column], Sequence[Row]]:
    used = [at for at in range(len(columns)) if any(row[at] for row in rows)]
    return [columns[at] for at in used], [[row[at] for at in used] for row in rows]


def _widths(columns: Sequence[Column], rows: Sequence[Row], width: int) -> list[int] | None:
    """Return how wide each column of a table is; none when it does not fit."""
    most = [
        max([cell_len(column.name), *(cell_len(row[at]) for row in rows)])
        for at, column in enumerate(columns)
    ]
    least = [
        _least(column, [row[at] for row in rows], most[at]) for at, column in enumerate(columns)
    ]
    room = width - len(_GAP) * (len(columns) - 1) - sum(least)
    if room < 0:
        return None
    # Who wants little gets all of it; the others share what is left alike.
    wanting = sorted(range(len(columns)), key=lambda at: most[at] - least[at])
    for served, at in enumerate(wanting):
        given = min(most[at] - least[at], room // (len(columns) - served))
        least[at] += given
        room -= given
    return least


def _least(column: Column, cells: Sequence[str], most: int) -> int:
    if column.kind is not Kind.TEXT:
        return most
    longest = max((cell_len(word) for cell in cells for word in cell.split()), default=0)
    return max(longest, cell_len(column.name), min(most, _READABLE))


def _table(columns: Sequence[Column], rows: Sequence[Row], widths: Sequence[int]) -> Iterator[str]:
    yield _line(columns, [column.name for column in columns], widths)
    yield _GAP.join("-" * width for width in widths)
    for row in rows:
        yield from _cells(columns, row, widths)


def _beside(
    columns: Sequence[Column], rows: Sequence[Row], at: int
) -> tuple[list[str], Sequence[Column], Sequence[Row]]:
    """Return the cells of one column, header first, and the other columns."""
    others = [*columns[:at], *columns[at + 1 :]]
    cells = [[*row[:at], *row[at + 1 :]] for row in rows]
    return [columns[at].name, *(row[at] for row in rows)], others, cells


def _headed(
    heads: Sequence[str], columns: Sequence[Column], rows: Sequence[Row], widths: Sequence[int]
) -> Iterator[str]:
    header, rule = _table(columns, (), widths)
    yield from (heads[0], _GAP + header, _GAP + rule)
    for before, head, row in zip(heads, heads[1:], rows, strict=False):
        if head != before or row is rows[0]:
            yield head
        yield from (f"{_GAP}{line}" for line in _cells(columns, row, widths) if line)


def _cells(columns: Sequence[Column], row: Row, widths: Sequence[int]) -> Iterator[str]:
    wrapped = [
        wrap(cell, width) if column.kind is Kind.TEXT else [cell]
        for column, cell, width in zip(columns, row, widths, strict=True)
    ]
    for line in zip_longest(*wrapped, fillvalue=""):
        yield _line(columns, line, widths)


def _line(columns: Sequence[Column], cells: Row, widths: Sequence[int]) -> str:
    padded = (
        _padded(cell, width, right=column.kind is Kind.NUMBER)
        for column, cell, width in zip(columns, cells, widths, strict=True)
    )
    return _GAP.join(padded).rstrip()


def _padded(cell: str, width: int, *, right: bool = False) -> str:
    padding = " " * (width - cell_len(cell))
    return padding + cell if right else cell + padding
