"""N4: a rise is charged, a fall is a restarted client, a repeat charges nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infrafabric_server.notify.totals import MAX_TOTAL, Total, complete, report

NOTHING = Total(0, 0, 0)


@pytest.mark.parametrize(
    ("values", "known"),
    [
        ([5], 5),
        ([5, 8], 8),
        ([5, 5, 5], 5),
        ([5, 2], 7),
        ([5, 2, 4], 9),
        ([5, 0, 6], 6),
        ([5, 0, 3], 8),
        ([0, 0], 0),
    ],
)
def test_n4_reports_charge_rises_and_restarts(values: list[int], known: int) -> None:
    total = NOTHING
    for value in values:
        total = report(total, value)
    assert total.known == known


def test_a_completion_is_charged_once_when_the_client_counts_it_too() -> None:
    total = complete(report(NOTHING, 100), 30)
    assert total.known == 130
    assert report(total, 130).known == 130
    assert report(total, 150).known == 150


def test_a_completion_is_charged_when_the_client_reports_no_totals() -> None:
    assert complete(complete(NOTHING, 30), 12).known == 42


def test_a_repeat_after_a_completion_charges_nothing() -> None:
    total = complete(report(NOTHING, 100), 30)
    assert report(total, 100) == total


def test_a_restarted_client_is_charged_its_whole_value() -> None:
    total = complete(report(NOTHING, 100), 30)
    assert report(total, 20) == Total(150, 20, 0)


def test_totals_stay_within_64_bits() -> None:
    full = Total(MAX_TOTAL - 1, 0, 0)
    assert report(full, 10).known == MAX_TOTAL
    assert complete(full, 10).known == MAX_TOTAL


@given(
    processes=st.lists(
        st.lists(st.tuples(st.booleans(), st.integers(1, 1000)), min_size=1), min_size=1
    )
)
def test_n4_honest_clients_are_charged_what_they_spent(
    processes: list[list[tuple[bool, int]]],
) -> None:
    """Each process counts all it spends, completions included, and reports before it ends."""
    total, spent = NOTHING, 0
    for steps in processes:
        own = 0
        for completes, value in steps:
            own += value
            total = complete(total, value) if completes else report(total, own)
        total = report(total, own)
        spent += own
        # A new process that starts where the last one stood cannot be told from a repeat.
        total = Total(total.known, 0, 0)
    assert total.known == spent
