"""Money, JSON values and waits: small rules with sharp edges."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infrafabric import backoff
from infrafabric.money import MAX_MICROS, format_usd, parse_usd
from infrafabric.values import from_struct, to_struct


@pytest.mark.parametrize(
    ("text", "micros"),
    [
        ("0", 0),
        ("2", 2_000_000),
        ("2.5", 2_500_000),
        ("0.000001", 1),
        ("1000000", MAX_MICROS),
        (" 15.00 ", 15_000_000),
        ("0.1", 100_000),
    ],
)
def test_dollars_are_read_exactly(text: str, micros: int) -> None:
    assert parse_usd(text) == micros


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-1",
        "+1",
        "1e3",
        "0.0000001",
        "1000000.000001",
        "1,5",
        ".5",
        "5.",
        "NaN",
        "\u0661",
        "1_0",
    ],
)
def test_what_is_not_dollars_is_refused_with_the_rule(text: str) -> None:
    with pytest.raises(ValueError, match="US dollars from 0 to 1000000"):
        parse_usd(text)


@given(st.integers(0, MAX_MICROS))
def test_dollars_that_are_written_are_read_back(micros: int) -> None:
    assert parse_usd(format_usd(micros)) == micros


def test_dollars_are_written_with_two_decimals_at_least() -> None:
    assert [format_usd(m) for m in (0, 2_000_000, 2_500_001, -1_500_000)] == [
        "0.00",
        "2.00",
        "2.500001",
        "-1.50",
    ]


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False).filter(lambda x: not x.is_integer())
    | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.text(st.characters(codec="utf-8")), JSON, max_size=5))
def test_json_values_survive_the_struct(values: dict[str, Any]) -> None:
    assert from_struct(to_struct(values)) == values


@pytest.mark.parametrize("value", [{"a": object()}, {"a": {1, 2}}, {"a": b"bytes"}])
def test_what_json_cannot_say_is_refused(value: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="not a JSON value"):
        to_struct(value)


def test_waits_double_up_to_five_seconds() -> None:
    waits = [backoff.wait(n, lambda: 1.0) for n in range(8)]
    assert waits == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    assert backoff.wait(10**9, lambda: 1.0) == 5.0


@given(st.integers(0, 100), st.floats(0, 0.999), st.none() | st.floats(0, 60))
def test_waits_are_jittered_and_respect_what_was_asked(
    failures: int, random: float, asked: float | None
) -> None:
    wait = backoff.wait(failures, lambda: random, asked)
    assert (asked or 0) <= wait <= (asked or 0) + 5
