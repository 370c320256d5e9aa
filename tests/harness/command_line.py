"""The commands of `infrafabric` and their parameters, as the parser has them."""

from collections.abc import Iterator
from typing import Any

import typer

from infrafabric_cli.main import app


def commands() -> dict[str, Any]:
    """Return the parser of each command by its words, such as `tasks list`."""
    return {" ".join(words): parser for words, parser in _walk(typer.main.get_command(app), ())}


def options(parser: Any) -> dict[str, Any]:
    """Return the options of a command by their names; a flag has `is_flag`."""
    return {each.opts[0]: each for each in parser.params if each.param_type_name == "option"}


def _walk(parser: Any, words: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    inner = getattr(parser, "commands", {})
    if not inner or parser.invoke_without_command:
        yield words, parser
    for name, each in inner.items():
        yield from _walk(each, (*words, name))
