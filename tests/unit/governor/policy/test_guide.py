"""G8: what docs/policy.md says of settings, variables and prices is so, and its example is good."""

import json
import re
from pathlib import Path

from infrafabric_server.governor.policy.checking import check
from infrafabric_server.governor.policy.expressions import MAX_COST, VARIABLES, price
from infrafabric_server.governor.policy.models import Policy

GUIDE = (Path(__file__).parents[4] / "docs" / "policy.md").read_text()
SETTING = re.compile(r"^\| `(\w+\.\w+)` \| (\S+) \| [^|]+ \| [^|]+ \|$", re.MULTILINE)
VARIABLE = re.compile(r"^\| (`[\w.]+`(?:, `[\w.]+`)*) \| ([\w ]+) \| [^|]+ \|$", re.MULTILINE)


def test_g8_the_table_of_settings_is_the_models() -> None:
    shown = Policy().model_dump(mode="json", exclude={"overrides", "rules", "cases"})
    settings = {
        f"{section}.{name}": value if isinstance(value, str) else json.dumps(value)
        for section, values in shown.items()
        for name, value in values.items()
    }
    assert dict(SETTING.findall(GUIDE)) == settings


def test_g8_the_table_of_variables_is_what_rules_see() -> None:
    told = {
        name.strip("`"): kind
        for names, kind in VARIABLE.findall(GUIDE)
        for name in names.split(", ")
        if name.strip("`") not in dict(SETTING.findall(GUIDE))
    }
    assert told == VARIABLES


def test_g8_the_example_is_good_and_its_cases_hold() -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)
    checked = check(text.encode())
    assert (checked.problems, checked.cases) == ((), 5)


def test_g8_the_prices_are_those() -> None:
    assert "all together may cost 5,000" in GUIDE
    assert MAX_COST == 5_000
    assert "`task.priority > 5` costs 45" in GUIDE
    assert price("task.priority > 5") == 45
    assert "an `exists` with one `startsWith` about 800" in GUIDE
    assert round(price('swarm.capabilities.exists(c, c.startsWith("gpu:"))'), -2) == 800
