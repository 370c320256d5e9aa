"""How results are printed: for people as tables, for pipes as plain lines, for machines as JSON."""

import json
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from infrafabric.values import from_struct

_INTEGERS = frozenset({FieldDescriptor.CPPTYPE_INT64, FieldDescriptor.CPPTYPE_UINT64})


# Ids and words up to this long are not broken over lines: those of requests for help.
_SHORT = 28


def plain(text: str) -> str:
    """Return `text` on one line, with every character that does not print spelled out.

    What comes from other agents must not move a person's cursor or disguise itself.
    """
    if text.isprintable():
        return text
    spelled = (char.encode("unicode_escape").decode("ascii") for char in text)
    return "".join(
        char if char.isprintable() else escape for char, escape in zip(text, spelled, strict=True)
    )


def say(text: str) -> None:
    """Print one line."""
    sys.stdout.write(plain(text) + "\n")
    sys.stdout.flush()


def complain(text: str) -> None:
    """Print one line to standard error."""
    sys.stderr.write(plain(text) + "\n")


def abandon(stream: TextIO) -> None:
    """Throw away what a stream has not written yet: nobody can read it."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def json_text(value: object) -> str:
    """Return a JSON document on one line."""
    return json.dumps(value, ensure_ascii=False)


def print_json(value: object) -> None:
    """Print one JSON document on one line."""
    sys.stdout.write(json_text(value) + "\n")
    sys.stdout.flush()


def as_json(message: Message) -> dict[str, Any]:
    """Return a message as JSON values.

    Names are those of the contract, whole numbers are numbers, times are RFC 3339, and
    fields without a value are there with their default, so that scripts can rely on them.
    """
    values: dict[str, Any] = json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    _repair(message, values)
    return values


def _repair(message: Message, values: dict[str, Any]) -> None:
    # protobuf's own JSON writes 64-bit integers as text and every number of a Struct as a float.
    for field in message.DESCRIPTOR.fields:
        if field.name not in values:
            continue
        value = getattr(message, field.name)
        if field.cpp_type in _INTEGERS:
            values[field.name] = list(value) if field.is_repeated else value
        elif isinstance(value, Struct):
            values[field.name] = from_struct(value)
        elif field.message_type is None or field.message_type.full_name.startswith("google."):
            continue
        elif field.is_repeated:
            for inner, converted in zip(value, values[field.name], strict=True):
                _repair(inner, converted)
        else:
            _repair(value, values[field.name])


def table(headers: Sequence[str], rows: Iterable[Sequence[str]], title: str = "") -> Table:
    """Return a table for a terminal; nothing in a cell is taken as markup."""
    result = Table(
        box=box.SIMPLE_HEAD, title=Text(plain(title)) if title else None, title_justify="left"
    )
    cells = list(rows)
    for number, header in enumerate(headers):
        widest = max((len(row[number]) for row in cells), default=0)
        # An id that is folded can still be read and copied; a text may break at its words.
        result.add_column(
            header, no_wrap=widest <= _SHORT, overflow="ellipsis" if number else "fold"
        )
    for row in cells:
        result.add_row(*(Text(plain(cell)) for cell in row))
    return result


def print_rows(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows: as a table to a terminal, else with tabs between cells, headers first."""
    if sys.stdout.isatty():
        cells = list(rows)
        # What is empty in every row only takes room.
        used = [number for number in range(len(headers)) if any(row[number] for row in cells)]
        shown = [[row[number] for number in used] for row in cells]
        Console().print(table([headers[number] for number in used], shown) if used else "nothing")
        return
    for row in (headers, *rows):
        sys.stdout.write("\t".join(plain(cell) for cell in row) + "\n")
