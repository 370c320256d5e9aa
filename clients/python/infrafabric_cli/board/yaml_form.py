"""The YAML form of a board.

Nothing of YAML is trusted: anchors, aliases and tags are refused before anything is built,
so that a small file cannot become a large board, and depth and count are bounded.
"""

from collections.abc import Iterable
from typing import Any

import yaml
from yaml.constructor import SafeConstructor

from infrafabric.v1.task_pb2 import Task
from infrafabric_cli.board.fields import written
from infrafabric_cli.board.model import BoardError, Cell, Entry, Problem, Value

MAX_DEPTH = 32
MAX_NODES = 200_000

# Numbers in a task's input are doubles: whole ones are exact up to here.
_MAX_EXACT = 2**53

_TAG = "tag:yaml.org,2002:"
_TYPED = frozenset({_TAG + "int", _TAG + "float", _TAG + "bool", _TAG + "null"})


def read_yaml(text: str) -> list[Entry]:
    """Return the entries of a board in YAML.

    Raises:
        BoardError: it is not YAML, or not a list of mappings under `tasks`.
    """
    try:
        _refuse_traps(text)
        root = yaml.compose(text, Loader=yaml.CSafeLoader)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise BoardError([Problem(line, "", "has a character that YAML forbids")]) from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        rule = f"not YAML: {error.problem or error.context}"
        # What is missing at the end of a file is noticed on the line after it.
        line = min(mark.line + 1, len(text.splitlines())) if mark else 1
        raise BoardError([Problem(line, "", rule)]) from error
    if root is None:
        return []
    listed = _tasks(root)
    return [_entry(node) for node in listed.value]


def write_yaml(tasks: Iterable[Task]) -> str:
    """Return a board in YAML that reads back as the same tasks."""
    board = {"tasks": [written(task) for task in tasks]}
    return yaml.dump(board, Dumper=yaml.CSafeDumper, sort_keys=False, allow_unicode=True, width=100)


def _refuse_traps(text: str) -> None:
    depth = nodes = 0
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        line = event.start_mark.line + 1 if event.start_mark else 1
        nodes += isinstance(event, yaml.NodeEvent)
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if isinstance(event, yaml.NodeEvent) and event.anchor is not None:
            raise BoardError([Problem(line, "", "must be without anchors and aliases")])
        if depth > MAX_DEPTH:
            raise BoardError([Problem(line, "", f"must be nested at most {MAX_DEPTH} deep")])
        if nodes > MAX_NODES:
            raise BoardError([Problem(line, "", f"must have at most {MAX_NODES} values")])


def _tasks(root: yaml.Node) -> yaml.SequenceNode:
    line = root.start_mark.line + 1
    if not isinstance(root, yaml.MappingNode):
        raise BoardError([Problem(line, "", "must be a mapping with the list `tasks`")])
    tasks = None
    for name, node in _pairs(root):
        if name != "tasks":
            rule = "is not known here; a board has nothing but `tasks`"
            raise BoardError([Problem(node.start_mark.line + 1, name[:40], rule)])
        tasks = node
    if not isinstance(tasks, yaml.SequenceNode):
        raise BoardError([Problem(line, "tasks", "must be a list")])
    return tasks


def _entry(node: yaml.Node) -> Entry:
    line = node.start_mark.line + 1
    if not isinstance(node, yaml.MappingNode):
        raise BoardError([Problem(line, "tasks", "each must be a mapping of fields")])
    cells = {
        name: Cell(value.start_mark.line + 1, _value(name, value)) for name, value in _pairs(node)
    }
    return Entry(line, cells)


def _pairs(node: yaml.MappingNode) -> list[tuple[str, yaml.Node]]:
    pairs: list[tuple[str, yaml.Node]] = []
    seen: set[str] = set()
    for key, value in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            raise BoardError([Problem(line, "", "the name of a field must be a single word")])
        if key.value in seen:
            raise BoardError([Problem(line, key.value[:40], "is given twice")])
        seen.add(key.value)
        pairs.append((key.value, value))
    return pairs


def _value(name: str, node: yaml.Node) -> Value:
    line = node.start_mark.line + 1
    if isinstance(node, yaml.ScalarNode):
        # Text in both forms: 1.10 is an id, and 2.50 an exact amount.
        return "" if node.tag == _TAG + "null" else str(node.value).strip()
    if isinstance(node, yaml.SequenceNode):
        if not all(isinstance(each, yaml.ScalarNode) for each in node.value):
            raise BoardError([Problem(line, name[:40], "must be a list of single values")])
        return [each.value for each in node.value]
    if name != "input":
        raise BoardError([Problem(line, name[:40], "must not be a mapping")])
    mapping = _typed(node)
    assert isinstance(mapping, dict), "a mapping node makes a mapping"
    return mapping


def _typed(node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        return {name: _typed(value) for name, value in _pairs(node)}
    if isinstance(node, yaml.SequenceNode):
        return [_typed(each) for each in node.value]
    if node.tag not in _TYPED:
        return node.value
    line = node.start_mark.line + 1
    try:
        value = SafeConstructor().construct_object(node)
    except (ValueError, KeyError) as error:
        raise BoardError([Problem(line, "input", f"{node.value[:40]!r} is no value")]) from error
    if isinstance(value, float) and not abs(value) < float("inf"):
        raise BoardError([Problem(line, "input", "a number must be finite")])
    if isinstance(value, int) and abs(value) > _MAX_EXACT:
        raise BoardError([Problem(line, "input", "a whole number must be at most 2^53")])
    return value
