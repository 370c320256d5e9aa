"""Conditions in CEL: checked when they are loaded, bounded in what their evaluation can cost.

CEL always ends, but not always soon, and here the event loop waits for it. So before it is
compiled a condition is cut into its signs and priced: what is looked at once costs 1, a list of
capabilities as many as it can hold, and what stands in `exists` or `all` is done for each of them.
What has no such bound is not taken: regular expressions, one walk through a list within another,
lists that are built. docs/decisions/0009-cel.md has what the prices come to.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache

from cel_expr_python import cel

from infrafabric_server.governor.policy.document import Value
from infrafabric_server.limits import MAX_CAPABILITIES

MAX_CHARACTERS = 1024
MAX_COST = 5_000
"""Most that all conditions of a policy may cost together."""

TEXT, WHOLE, TRUTH, TEXTS = "text", "whole number", "truth", "list of texts"
_ACCOUNT = {
    "limited": TRUTH,
    "limit_micros": WHOLE,
    "spent_micros": WHOLE,
    "reserved_micros": WHOLE,
    "available_micros": WHOLE,
}
VARIABLES: Mapping[str, str] = {
    "task.id": TEXT,
    "task.title": TEXT,
    "task.required_capabilities": TEXTS,
    "task.priority": WHOLE,
    "task.filler": TRUTH,
    "task.preferred_model": TEXT,
    "task.estimated_seconds": WHOLE,
    "task.max_cost_micros": WHOLE,
    "task.spent_micros": WHOLE,
    "task.attempt": WHOLE,
    "task.failures": WHOLE,
    "swarm.id": TEXT,
    "swarm.capabilities": TEXTS,
    "swarm.cost_per_hour_micros": WHOLE,
    "swarm.model": TEXT,
    "swarm.max_concurrent_tasks": WHOLE,
    "swarm.credential_pool": TEXT,
    **{f"budget.{name}": kind for name, kind in _ACCOUNT.items()},
    **{f"fabric.{name}": kind for name, kind in _ACCOUNT.items()},
}
"""What a condition can be about, and of what kind each is."""

_WALKS = frozenset({"exists", "exists_one", "all"})
_FUNCTIONS = frozenset({"size", "startsWith", "endsWith", "contains", "int", "double", "string"})
_LISTS = frozenset(name.partition(".")[2] for name, kind in VARIABLES.items() if kind == TEXTS)
_SIGN = re.compile(
    r"""\s*(?:(?P<text>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')|(?P<number>[0-9][\w.]*)
    |(?P<name>[A-Za-z_]\w*)|(?P<mark>&&|\|\||[=!<>]=|[-+*/%!<>?:.,()\[\]]))""",
    re.VERBOSE | re.ASCII,
)
# What starting an evaluation comes to, and looking for one text in another.
_BASE = 40
_SEARCH = 64
_CEL_PLACE = re.compile(r"^(?:[A-Z_]+: )?(?:ERROR: )?(?:<input>:-?\d+:-?\d+: )?")


class ExpressionError(Exception):
    """A condition is not taken, or has no answer; the text says why."""


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition that can be asked; `cost` is the most that one answer can cost."""

    cost: int
    _program: cel.Expression

    def holds(self, facts: "Facts") -> bool:
        """Tell whether it holds of the facts.

        Raises:
            ExpressionError: it has no answer, such as after a division by zero.
        """
        answer = self._program.eval(facts.activation)
        if answer.type() != cel.Type.BOOL:
            raise ExpressionError(str(answer.value()).partition(": ")[2] or "no answer")
        return bool(answer.value())


class Facts:
    """What conditions are asked about: a value for each of VARIABLES."""

    def __init__(self, values: Mapping[str, Value]) -> None:
        self.activation = _environment().Activation(values)


def compiled(source: str) -> Condition:
    """Return a condition that is within the bounds.

    Raises:
        ExpressionError: it is not CEL, names what is not there, or is no truth.
    """
    cost = price(source)
    try:
        program = _environment().compile(source)
    except RuntimeError as error:
        raise ExpressionError(_told(str(error))) from None
    if program.return_type() != cel.Type.BOOL:
        raise ExpressionError("must be true or false, such as `task.priority > 5`")
    return Condition(cost, program)


def price(source: str) -> int:
    """Return the most that an evaluation can cost.

    Raises:
        ExpressionError: it has no bound, or is too long.
    """
    if len(source) > MAX_CHARACTERS:
        raise ExpressionError(f"must be at most {MAX_CHARACTERS} characters")
    signs = list(_signs(source))
    cost, walk, depth, sums = _BASE, 0, 0, 0
    for at, sign in enumerate(signs):
        called = signs[at + 1 : at + 2] == ["("]
        weight = MAX_CAPABILITIES if sign in _LISTS else 1 + len(sign) // MAX_CAPABILITIES
        if sign in _WALKS and called:
            if walk:
                raise ExpressionError(f"{sign}() within another walk through a list is not taken")
            match signs[max(at - 2, 0) : at]:
                case [walked, "."] if walked in _LISTS:
                    walk = depth + 1
                case _:
                    raise ExpressionError(f"{sign}() is taken of a list of capabilities only")
        elif sign.isidentifier() and called and sign not in _FUNCTIONS and sign != "in":
            raise ExpressionError(
                f"{sign}() is not taken; known are {', '.join(sorted(_FUNCTIONS | _WALKS))}"
            )
        elif sign == "+":
            # Of lists, each makes a new one of all that are before it.
            sums += 1
            weight = MAX_CAPABILITIES * sums
        elif sign == "contains":
            weight = _SEARCH
        depth += (sign == "(") - (sign == ")")
        cost += weight * (MAX_CAPABILITIES if walk else 1)
        if sign == ")" and depth < walk:
            walk = 0
    return cost


def _signs(source: str) -> Iterator[str]:
    end = len(source.rstrip())
    at, before = 0, ""
    while at < end:
        found = _SIGN.match(source, at)
        if found is None or (before, found[0]) == ("/", "/"):
            raise ExpressionError(f"{source[at:].strip()[:20]!r} is not taken in a condition")
        stuck = before.isidentifier() or before.endswith(('"', "'"))
        if found["text"] and stuck and before != "in":
            # r"", b"" and three quotes: there would be two ways to read what follows.
            raise ExpressionError("texts are written in single or double quotes, without a prefix")
        yield (before := found[0].strip())
        at = found.end()


@cache
def _environment() -> cel.Env:
    kinds = {
        TEXT: cel.Type.STRING,
        WHOLE: cel.Type.INT,
        TRUTH: cel.Type.BOOL,
        TEXTS: cel.Type.List(cel.Type.STRING),
    }
    # With its whole name, each is checked for its kind, and a name that is not there is found.
    return cel.NewEnv(variables={name: kinds[kind] for name, kind in VARIABLES.items()})


def _told(error: str) -> str:
    text = error.partition("\n")[0].removesuffix("]").strip()
    found = _CEL_PLACE.match(text)
    told = text[found.end() :] if found else text
    told = told.replace(" (in container '')", "").partition(" [")[0]
    if told.startswith("undeclared reference"):
        told += f"; known are {', '.join(VARIABLES)}"
    elif told.startswith("Syntax error"):
        told = told.partition(" expecting ")[0]
    return told
