"""What docs/commands.md says of all commands holds for each of them."""

from typing import Any

import pytest

from infrafabric_cli.options import JSON_METAVAR, json_object
from tests.harness.command_line import commands, options

COMMANDS = commands()

# What prints no answer that a script could want in another form.
_WITHOUT_JSON = {"serve", "cost export", "witness export"}


@pytest.mark.parametrize("name", COMMANDS)
def test_u3_every_option_says_what_it_takes(name: str) -> None:
    for parameter in COMMANDS[name].params:
        assert parameter.help
    for option in options(COMMANDS[name]).values():
        # The form, or the unit.
        assert option.is_flag or option.metavar


def test_u3_every_answer_can_be_had_as_json() -> None:
    without = {name for name, parser in COMMANDS.items() if "--json" not in options(parser)}
    assert without == _WITHOUT_JSON


def test_u3_json_is_given_in_one_way_everywhere() -> None:
    given = {
        f"{name} {flag}": option
        for name, parser in COMMANDS.items()
        for flag, option in options(parser).items()
        if flag in ("--input", "--result")
    }
    assert {each.metavar for each in given.values()} == {JSON_METAVAR}
    assert set(given) == {
        "tasks create --input",
        "tasks complete --result",
        "chassis execute --input",
        "chassis run --input",
    }


def test_u3_json_is_its_text_a_file_or_standard_input(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = '{"näme": [1, 2.5]}'
    file = tmp_path / "it.json"
    file.write_text(text)
    with file.open() as stream:
        monkeypatch.setattr("sys.stdin", stream)
        assert json_object("-") == json_object(text) == json_object(f"@{file}")
