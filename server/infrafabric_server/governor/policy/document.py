"""Reads YAML as plain values, and remembers on which line each of them is.

What makes a small text large or a reader surprised is refused: aliases, a key twice, tags.
"""

from dataclasses import dataclass, field

import yaml
from yaml.constructor import SafeConstructor

MAX_BYTES = 256 * 1024
MAX_DEPTH = 16
MAX_VALUES = 20_000

# Characters of a number, a truth or nothing. Longer ones, such as 1:59:59:…, take a second to read,
# and could not be said again.
_MAX_PLAIN = 64

Path = tuple[str | int, ...]
Value = None | bool | int | float | str | list["Value"] | dict[str, "Value"]

_TAG = "tag:yaml.org,2002:"
_PLAIN = {_TAG + name for name in ("null", "bool", "int", "float")}
# Nothing here takes a date, and `=` and `<<` mean nothing.
_TEXTS = {_TAG + name for name in ("str", "timestamp", "merge", "value")}


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: where, on which line from 1 (0: not known), and the rule."""

    path: str
    line: int
    problem: str


class DocumentError(Exception):
    """The text cannot be read as a document."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.problem)
        self.problem = problem


@dataclass(slots=True)
class Document:
    """A mapping, and the line of each value in it by its path."""

    values: dict[str, Value] = field(default_factory=dict)
    lines: dict[Path, int] = field(default_factory=dict)

    def problem(self, path: Path, problem: str) -> Problem:
        """Return a problem at `path`; what is missing is on the line of what it is missing in."""
        known = path
        while known and known not in self.lines:
            known = known[:-1]
        return Problem(dotted(path), self.lines.get(known, 0), problem)


def dotted(path: Path) -> str:
    """Return a path as people write it, such as `rules[2].when`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


def read(text: bytes) -> Document:
    """Return the document in a text; an empty one is an empty mapping.

    Raises:
        DocumentError: it is no YAML of one mapping, or is beyond the limits.
    """
    if len(text) > MAX_BYTES:
        raise DocumentError(Problem("", 0, f"must be at most {MAX_BYTES} bytes"))
    try:
        return _document(text.decode())
    except UnicodeDecodeError as error:
        raise DocumentError(Problem("", 0, f"must be UTF-8: {error.reason}")) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        told = error.problem or error.context or "not YAML"
        raise DocumentError(
            Problem("", mark.line + 1 if mark else 0, f"not YAML: {told}")
        ) from None
    except yaml.YAMLError as error:
        raise DocumentError(Problem("", 0, f"not YAML: {error}")) from None


def _document(text: str) -> Document:
    _check_size(text)
    root = yaml.compose(text, Loader=yaml.CSafeLoader)
    document = Document()
    if root is None or root.tag == _TAG + "null":
        return document
    if not isinstance(root, yaml.MappingNode):
        raise _refused((), root, "must be a mapping of settings")
    _fill(document.values, root, (), document.lines)
    return document


def _check_size(text: str) -> None:
    """Refuse what would become large or deep, before it does."""
    values = depth = 0
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        values += isinstance(event, yaml.NodeEvent)
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if isinstance(event, yaml.AliasEvent):
            raise _refused((), event, "aliases are not taken: write the value out")
        if values > MAX_VALUES:
            raise _refused((), event, f"must have at most {MAX_VALUES} values")
        if depth > MAX_DEPTH:
            raise _refused((), event, f"must be nested at most {MAX_DEPTH} deep")


def _fill(
    values: dict[str, Value], node: yaml.MappingNode, path: Path, lines: dict[Path, int]
) -> None:
    lines.setdefault(path, _line(node))
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise _refused(path, key, "keys must be names")
        name: str = key.value
        if name in values:
            raise _refused((*path, name), key, "is given twice")
        lines[(*path, name)] = _line(key)
        values[name] = _value(value, (*path, name), lines)


def _value(node: yaml.Node, path: Path, lines: dict[Path, int]) -> Value:
    lines.setdefault(path, _line(node))
    if isinstance(node, yaml.MappingNode):
        values: dict[str, Value] = {}
        _fill(values, node, path, lines)
        return values
    if isinstance(node, yaml.SequenceNode):
        return [_value(each, (*path, index), lines) for index, each in enumerate(node.value)]
    text: str = node.value
    if node.tag in _TEXTS:
        return text
    if node.tag not in _PLAIN:
        raise _refused(path, node, "tags are not taken: write the value alone")
    try:
        if len(text) <= _MAX_PLAIN:
            value: Value = SafeConstructor().construct_object(node)
            return value
    except (ValueError, OverflowError):
        pass
    raise _refused(path, node, f"{text[:40]!r} is no value")


def _line(place: yaml.Node | yaml.Event) -> int:
    mark = place.start_mark
    return 0 if mark is None else mark.line + 1


def _refused(path: Path, place: yaml.Node | yaml.Event, problem: str) -> DocumentError:
    return DocumentError(Problem(dotted(path), _line(place), problem))
