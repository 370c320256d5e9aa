"""What is varied: each family of days differs from the base in what it is named by."""

from collections.abc import Mapping
from typing import Any

from tests.benchmarks.economics.model import Scenario

BASE = Scenario()

_CHANGES: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "one-role": {"skills": {"roles": 1, "generalists": 0.0, "lost": 0.0, "gained": 0.0}},
    "exact-roles": {"skills": {"generalists": 0.0, "lost": 0.0, "gained": 0.0}},
    "generalists": {"skills": {"generalists": 0.6}},
    "lack-is-fatal": {"skills": {"residual": 0.0}},
    "lack-is-little": {"skills": {"residual": 0.8}},
    "one-price": {"prices": {"spread": 0.0}},
    "wide-prices": {"prices": {"spread": 1.0}},
    "blind-prices": {"prices": {"follows_quality": 0.0}},
    "fail-2": {"failures": {"rate": 0.02}},
    "fail-5": {"failures": {"rate": 0.05}},
    "fail-20": {"failures": {"rate": 0.2}},
    "fail-late": {"failures": {"least_used": 1.0}},
    "unnoticed": {"failures": {"unnoticed": 0.5}},
    "no-rogues": {"rogues": {"share": 0.0}},
    "rogues-20": {"rogues": {"share": 0.2}},
    "cheap-rogues": {"rogues": {"share": 0.2, "price": 0.25}},
    "half-load": {"work": {"tasks": 2_000}},
    "high-load": {"work": {"tasks": 6_000}},
    "slow-people": {"people": {"answer_hours": 8.0}},
    "trusting-people": {"people": {"mistaken": 1.0}},
    "tight-limits": {"money": {"allowance": 1.5}},
    "one-role-no-rogues": {
        "rogues": {"share": 0.0},
        "skills": {"roles": 1, "generalists": 0.0, "lost": 0.0, "gained": 0.0},
    },
}


def _changed(name: str, changes: Mapping[str, Mapping[str, Any]]) -> Scenario:
    said = BASE.model_dump()
    for part, values in changes.items():
        said[part] |= values
    return Scenario.model_validate({**said, "name": name})


FAMILIES: Mapping[str, Scenario] = {
    BASE.name: BASE,
    **{name: _changed(name, changes) for name, changes in _CHANGES.items()},
}
