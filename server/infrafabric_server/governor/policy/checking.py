"""Checks the file of a policy as a whole: it is in force with all of it, or not at all."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import get_args

from pydantic import BaseModel, ValidationError

from infrafabric_server.governor.policy.cases import ALLOW, MAX_TASK_COST
from infrafabric_server.governor.policy.document import (
    Document,
    DocumentError,
    Path,
    Problem,
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
    """Check the text of a policy, and run the cases in it."""
    digest = hashlib.sha256(text).hexdigest()
    try:
        document = read(text)
    except DocumentError as error:
        return Checked(digest, None, (error.problem,))
    try:
        policy = Policy.model_validate(document.values)
    except ValidationError as error:
        found = sorted(_invalid(document, error), key=lambda each: each.line)
        return Checked(digest, None, tuple(found[:_MAX_PROBLEMS]))
    problems: list[Problem] = []
    conditions = _conditions(document, policy, problems)
    problems += _names(document, policy)
    effective = Effective(policy, digest, conditions)
    cases = 0
    if not problems:
        problems += _cases(document, effective)
        cases = len(policy.cases)
    problems.sort(key=lambda each: each.line)
    shown = tuple(problems[:_MAX_PROBLEMS])
    return Checked(digest, None if problems else effective, shown, cases)


def _conditions(document: Document, policy: Policy, problems: list[Problem]) -> list[Condition]:
    conditions = []
    for index, rule in enumerate(policy.rules):
        path = ("rules", index, "when")
        try:
            conditions.append(compiled(rule.when))
        except ExpressionError as error:
            problems.append(document.problem(path, str(error)))
    cost = sum(condition.cost for condition in conditions)
    if cost > MAX_COST:
        costs = ", ".join(str(condition.cost) for condition in conditions)
        told = f"cost {cost} together ({costs}), at most {MAX_COST}: see docs/policy.md for prices"
        problems.append(document.problem(("rules",), told))
    return conditions


def _names(document: Document, policy: Policy) -> Iterator[Problem]:
    known: set[str] = set()
    for index, rule in enumerate(policy.rules):
        path = ("rules", index, "name")
        if rule.name in _RESERVED:
            yield document.problem(path, f"must not be {' or '.join(_RESERVED)}")
        elif rule.name in known:
            yield document.problem(path, "must be unique among the rules")
        known.add(rule.name)
    for index, case in enumerate(policy.cases):
        if case.expect not in known | {*_RESERVED}:
            told = f"must be {ALLOW}, {MAX_TASK_COST} or the name of a rule"
            yield document.problem(("cases", index, "expect"), told)


def _cases(document: Document, policy: Effective) -> Iterator[Problem]:
    for index, case in enumerate(policy.policy.cases):
        found = outcome(policy, case)
        came = ALLOW if found is None else found.rule
        if came != case.expect:
            told = f"case {case.name!r} expects {case.expect}, and comes to {came}"
            if found is not None:
                told += f": {found.detail}"
            yield document.problem(("cases", index, "expect"), told)


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
