"""Names of people: a swarm does not pass for one by characters that nobody sees."""

import pytest

from infrafabric_server.errors import InvalidField
from infrafabric_server.governor.persons import require_person, seen_as


@pytest.mark.parametrize(
    "name",
    [
        "Ann Lee",
        "anna-2",
        "Zoë",
        "李雷",
        "Jean-Luc\u00a0P.",
        "\u0645\u06cc\u200c\u0631",
        "Ann \u041b\u0438",
    ],
)
def test_people_have_names_of_any_script(name: str) -> None:
    assert require_person("approver", f" {name}\n") == name


@pytest.mark.parametrize("name", ["", " ", "\u200b", "\u200d", "\u3164", "\u2800", "...", "\0"])
def test_nothing_to_read_is_no_name(name: str) -> None:
    with pytest.raises(InvalidField, match=r"acknowledged_by: must name a person$"):
        require_person("acknowledged_by", name)


@pytest.mark.parametrize(
    "name",
    ["ann\0", "an\nn", "\x1b[31mann", "ann\u200blee", "ann\u202e", "ann\u2028", "a\u00adb"],
)
def test_controls_are_no_part_of_a_name(name: str) -> None:
    with pytest.raises(InvalidField, match="without control and format characters"):
        require_person("approver", f"{name}!")


def test_no_word_is_in_two_alphabets_that_look_the_same() -> None:
    for name in ("\u0455can-1", "Ann l\u03b5e"):
        with pytest.raises(InvalidField, match="each word in one of LATIN, GREEK, CYRILLIC"):
            require_person("approver", name)


@pytest.mark.parametrize(
    "name",
    [
        "scan-1",
        "scan\u20111",
        "scan\u22121",
        "scan\u20131",
        "\uff53can-1",
        "scan-\u2460",
        "scan-\U0001d7cf",
        "sc\u200dan-1",
        "scan-1\u3164",
        "scan-1\ufe0f",
    ],
)
def test_a_name_reads_as_the_id_that_it_looks_like(name: str) -> None:
    assert seen_as(name) == "scan-1"
    assert seen_as("Ann Lee") == "Ann Lee"
