"""Amounts as people read them."""

import pytest

from infrafabric_server.governor.money import usd


@pytest.mark.parametrize(
    ("micros", "text"),
    [
        (0, "0.00 USD"),
        (1, "0.000001 USD"),
        (-1, "-0.000001 USD"),
        (1_500_000, "1.50 USD"),
        (2_345_000, "2.345 USD"),
        (-12_000_000, "-12.00 USD"),
        (2**63 - 1, "9223372036854.775807 USD"),
    ],
)
def test_an_amount_is_said_without_floats(micros: int, text: str) -> None:
    assert usd(micros) == text
