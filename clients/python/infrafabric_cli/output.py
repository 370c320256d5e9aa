"""How results are printed: for people as tables, for pipes as plain lines, for machines as JSON."""

import json
import os
import sys
from collections.abc import Iterable, Sequence
from shutil import get_terminal_size
from typing import Any, TextIO

from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct

from infrafabric.values import from_struct
from infrafabric_cli.layout import Column, Kind, arrange, block, wrap

_INTEGERS = frozenset({FieldDescriptor.CPPTYPE_INT64, FieldDescriptor.CPPTYPE_UINT64})


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
    """Print a message to standard error; further lines stand in, so that none looks like ours."""
    for number, line in enumerate(text.splitlines() or [""]):
        sys.stderr.write(("    " if number else "") + plain(line) + "\n")


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


def print_lines(lines: Iterable[str]) -> None:
    """Print lines; every character of them is printable, or a tab between cells."""
    sys.stdout.writelines(f"{line}\n" for line in lines)
    sys.stdout.flush()


def print_text(words: str) -> None:
    """Print a text: to a terminal broken at its spaces where it does not fit, else on one line."""
    shown = plain(words)
    width = get_terminal_size().columns
    print_lines(wrap(shown, width) if sys.stdout.isatty() else [shown])


def print_rows(columns: Sequence[Column], rows: Iterable[Sequence[str]], empty: str = "") -> None:
    """Print rows: to a terminal as they fit it, else with tabs between cells, headers first.

    Args:
        columns: what the cells are; the first of words names the row.
        rows: a cell for each column.
        empty: what a terminal shows when there are no rows: what there is none of, and what to do.
    """
    cells = [[plain(cell) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        headers = [column.name for column in columns]
        print_lines("\t".join(row) for row in (headers, *cells))
    elif cells:
        print_lines(arrange(columns, cells, get_terminal_size().columns))
    else:
        print_text(empty)


def print_pairs(pairs: Sequence[tuple[str, str]]) -> None:
    """Print names and values: to a terminal as they fit it, else as rows of a field and a value."""
    if sys.stdout.isatty():
        shown = [(name, plain(value)) for name, value in pairs]
        print_lines(block(shown, get_terminal_size().columns))
    else:
        print_rows((Column("field"), Column("value", Kind.TEXT)), pairs)
