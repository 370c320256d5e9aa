"""Checks the file of a policy as a whole: it is in force with all of it, or not at all."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

from pydantic import BaseModel, ValidationError

from infrafabric_server.governor.policy.cases import ALLOW, MAX_TASK_COST
from infrafabric_server.governor.policy.document import (
    Document,
    DocumentError,
    Path,
    Problem,
    dotted,
    read,
)
from infrafabric_server.governor.policy.expressions import (
    MAX_COST,
    Condition,
    ExpressionError,
    compiled,
)
from infrafabric_server.governor.policy.models import Policy
from infrafabric_server.governor.policy.verdicts import Effective, outcome
from infrafabric_server.governor.policy.wording import told

# A file with more is shown its first ones.
_MAX_PROBLEMS = 100
_RESERVED = (ALLOW, MAX_TASK_COST)


@dataclass(frozen=True, slots=True)
class Checked:
    """What came of a check: a policy that can be in force, or what is wrong."""

    hash: str
    effective: Effective | None
    problems: tuple[Problem, ...] = ()
    cases: int = 0


def check(text: bytes) -> Checked:
    """Check the text of a policy, and run the cases in it.

    All that is wrong is told at once. Rules and names are looked at whatever else is wrong; cases
    are run with what can be in force, and otherwise it is said that they were not.
    """
    digest = hashlib.sha256(text).hexdigest()
    try:
        document = read(text)
    except DocumentError as error:
        return Checked(digest, None, (error.problem,))
    policy: Policy | None = None
    problems: list[Problem] = []
    try:
        policy = Policy.model_validate(document.values)
    except ValidationError as error:
        problems += _invalid(document, error)
    conditions = _conditions(document, problems)
    problems += _names(document)
    sound = None if policy is None or problems else Effective(policy, digest, conditions)
    told = {each.path for each in problems}
    unknown = [each for each in _expectations(document) if each.path not in told]
    problems += unknown
    cases = 0
    if sound is not None:
        cases = len(sound.policy.cases) - len(unknown)
        problems += _cases(document, sound, unknown)
    problems.sort(key=lambda each: each.line)
    del problems[_MAX_PROBLEMS:]
    if sound is None and document.values.get("cases"):
        problems.append(
            document.problem(("cases",), "were not run, as the file has other problems")
        )
    return Checked(digest, None if problems else sound, tuple(problems), cases)


def _texts(document: Document, part: str, name: str) -> Iterator[tuple[Path, str]]:
    """Return the texts of a name in the entries of a part, and where they are."""
    entries = document.values.get(part)
    for index, each in enumerate(entries if isinstance(entries, list) else ()):
        text = each.get(name) if isinstance(each, dict) else None
        # An empty one was told as such.
        if isinstance(text, str) and text:
            yield (part, index, name), text


def _conditions(document: Document, problems: list[Problem]) -> list[Condition]:
    conditions: list[Condition] = []
    # Of more rules than may be, whoever wrote them is told that alone: each takes time.
    if any(each.path == "rules" for each in problems):
        return conditions
    for path, text in _texts(document, "rules", "when"):
        try:
            conditions.append(compiled(text))
        except ExpressionError as error:
            problems.append(document.problem(path, str(error)))
    cost = sum(condition.cost for condition in conditions)
    if cost > MAX_COST:
        costs = ", ".join(str(condition.cost) for condition in conditions)
        told = f"cost {cost} together ({costs}), at most {MAX_COST}: see docs/policy.md for prices"
        problems.append(document.problem(("rules",), told))
    return conditions


def _names(document: Document) -> Iterator[Problem]:
    known: set[str] = set()
    for path, name in _texts(document, "rules", "name"):
        if name in _RESERVED:
            yield document.problem(path, f"must not be {' or '.join(_RESERVED)}")
        elif name in known:
            yield document.problem(path, "must be unique among the rules")
        known.add(name)


def _expectations(document: Document) -> Iterator[Problem]:
    known = {*_RESERVED, *(name for _, name in _texts(document, "rules", "name"))}
    for path, expected in _texts(document, "cases", "expect"):
        if expected not in known:
            told = f"must be {ALLOW}, {MAX_TASK_COST} or the name of a rule"
            yield document.problem(path, told)


def _cases(document: Document, policy: Effective, unknown: Sequence[Problem]) -> Iterator[Problem]:
    wrong = {each.path for each in unknown}
    for index, case in enumerate(policy.policy.cases):
        found = outcome(policy, case)
        came = ALLOW if found is None else found.rule
        path = ("cases", index, "expect")
        if came != case.expect and dotted(path) not in wrong:
            told = f"case {case.name!r} expects {case.expect}, and comes to {came}"
            if found is not None:
                told += f": {found.detail}"
            yield document.problem(path, told)


def _invalid(document: Document, error: ValidationError) -> Iterator[Problem]:
    for each in error.errors(include_url=False):
        path: Path = each["loc"]
        if each["type"] == "extra_forbidden":
            rule = f"is not known here; known are {', '.join(_known(path[:-1]))}"
        else:
            rule = told(each)
        yield document.problem(path, rule)


def _known(path: Path) -> Mapping[str, object]:
    """Return the fields of the model at a path."""
    model: type[BaseModel] = Policy
    for part in path:
        if isinstance(part, str) and part in model.model_fields:
            model = _model(model.model_fields[part].annotation) or model
    return model.model_fields


def _model(annotation: object) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_model, get_args(annotation))), None)
