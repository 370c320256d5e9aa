"""Which operations the server writes to the witness log, read off its source.

An operation is named where a `Fact` is made, a draft is asked of the outbox, or a flood is
counted. What is named there by a variable is followed to where that comes from.
"""

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

_Function = ast.FunctionDef | ast.AsyncFunctionDef

# Where none of them is, nothing is written.
_WORDS = ("Fact(", "raft(", "count(")


class UnclearError(Exception):
    """It cannot be told from the source which operation is written; the text says where."""


@dataclass(frozen=True, slots=True)
class _Module:
    name: str
    tree: ast.Module
    # Of each node the function that it is in.
    within: dict[ast.AST, _Function] = field(default_factory=dict)


def written(root: Path) -> set[str]:
    """Return all operations that the sources below a folder write.

    Raises:
        UnclearError: one is named in a way that cannot be followed.
    """
    texts = {path: path.read_text() for path in sorted(root.rglob("*.py"))}
    enums = _enums(ast.parse(text) for text in texts.values() if "StrEnum" in text)
    found: set[str] = set()
    for path, text in texts.items():
        if not any(word in text for word in _WORDS):
            continue
        module = _module(path, text)
        for call in (node for node in ast.walk(module.tree) if isinstance(node, ast.Call)):
            named = _named(call)
            if named is not None and not _passed_on(named):
                found |= _Values(module, enums).of(named)
    return found


def _module(path: Path, text: str) -> _Module:
    module = _Module(str(path), ast.parse(text))
    for function in (node for node in ast.walk(module.tree) if isinstance(node, _Function)):
        # Inner functions come later, and are what their nodes are in.
        module.within.update(dict.fromkeys(ast.walk(function), function))
    return module


def _enums(modules: Iterable[ast.Module]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for node in (node for module in modules for node in ast.walk(module)):
        if isinstance(node, ast.ClassDef) and any(_name(base) == "StrEnum" for base in node.bases):
            values = (each.value for each in node.body if isinstance(each, ast.Assign))
            texts = {each.value for each in values if isinstance(each, ast.Constant)}
            found.setdefault(node.name, set()).update(map(str, texts))
    return found


def _name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def _named(call: ast.Call) -> ast.expr | None:
    """Return what a call names as an operation, if it is one that writes."""
    match _name(call.func), len(call.args):
        case "Fact", count if count:
            return call.args[0]
        case "draft", count if count > 1:
            return call.args[1]
        # `Flood.count`; other counts take other arguments.
        case "count", 4:
            return call.args[0]
        # The outbox's own is of what it was asked for; any other one is of its own making.
        case "Draft", _:
            values = (each.value for each in call.keywords if each.arg == "operation")
            return next((each for each in values if isinstance(each, ast.Constant)), None)
    return None


def _passed_on(named: ast.expr) -> bool:
    """Tell whether it was named before: in a fact, or in what a flood counts."""
    return isinstance(named, ast.Attribute) and named.attr == "operation"


@dataclass(frozen=True, slots=True)
class _Values:
    """What expressions of a module can be."""

    module: _Module
    enums: dict[str, set[str]]

    def of(self, named: ast.expr) -> set[str]:
        match named:
            case ast.Constant(value=str(text)):
                return {text}
            case ast.IfExp(body=body, orelse=other):
                return self.of(body) | self.of(other)
            case ast.JoinedStr(
                values=[ast.Constant(value=str(start)), ast.FormattedValue(value=end)]
            ):
                return {start + each for each in self.of(end)}
            case ast.Name():
                return self._of_name(named)
        raise self._unclear(named)

    def _unclear(self, named: ast.expr) -> UnclearError:
        return UnclearError(f"{self.module.name}:{named.lineno}: {ast.unparse(named)}")

    def _of_name(self, named: ast.Name) -> set[str]:
        function = self.module.within.get(named)
        while function is not None:
            found = [*self._assigned(function, named.id), *self._given(function, named.id)]
            if found:
                return set().union(*found)
            outer = [each for each in self._functions() if function in _inside(each)]
            function = outer[-1] if outer else None
        found = list(self._assigned(self.module.tree, named.id))
        if not found:
            raise self._unclear(named)
        return set().union(*found)

    def _functions(self) -> Iterator[_Function]:
        return (node for node in ast.walk(self.module.tree) if isinstance(node, _Function))

    def _assigned(self, scope: ast.AST, name: str) -> Iterator[set[str]]:
        for node in ast.walk(scope):
            if isinstance(node, ast.Assign) and name in map(_name, node.targets):
                yield self.of(node.value)

    def _given(self, function: _Function, name: str) -> Iterator[set[str]]:
        """Yield what a parameter can be: any of its enumeration, or what the callers give."""
        parameters = [*function.args.posonlyargs, *function.args.args]
        names = [each.arg for each in parameters]
        if name not in names:
            return
        annotation = parameters[names.index(name)].annotation
        said = ast.walk(annotation) if annotation is not None else ()
        kinds = {_name(node) for node in said if isinstance(node, ast.expr)}
        if known := kinds & self.enums.keys():
            yield set().union(*(self.enums[kind] for kind in known))
            return
        place = names.index(name) - (names[0] == "self")
        for node in ast.walk(self.module.tree):
            if isinstance(node, ast.Call) and _name(node.func) == function.name:
                yield self.of(node.args[place])


def _inside(function: _Function) -> set[ast.AST]:
    return {*ast.walk(function)} - {function}
