"""Hours and days of costs, and what is put together to stay bounded."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infrafabric_server.optimise.cheapest import cheapest
from infrafabric_server.optimise.models import Cost, Rollup, Row, Waste
from infrafabric_server.optimise.rollups import (
    MAX_ROWS,
    OTHER,
    due,
    key_of,
    name_at,
    put_together,
    row_of,
    span,
)
from tests.unit.optimise.kit import cost

_NUMBERS = (
    "micros",
    "count",
    "failed_micros",
    "repeated_micros",
    "fenced_micros",
    "cheapest_micros",
)
_costs = st.builds(
    cost,
    st.sampled_from("abc"),
    st.integers(0, 1000),
    operation=st.sampled_from(["llm", "tool"]),
    model=st.sampled_from(["", "m1", "m2"]),
    task_id=st.sampled_from(["", "t1", "t2", "t3"]),
    charge=st.booleans(),
    waste=st.none() | st.sampled_from(Waste),
    cheapest_micros=st.none() | st.integers(0, 1000),
)


def sums(rows: Iterable[Row]) -> list[int]:
    rows = list(rows)
    return [sum(getattr(row, name) for row in rows) for name in _NUMBERS]


@given(st.lists(_costs, max_size=60), st.integers(1, 12), st.integers(1, 5))
def test_w4_what_is_put_together_keeps_every_sum_and_is_bounded(
    costs: list[Cost], limit: int, parts: int
) -> None:
    rows = [row_of(each) for each in costs]
    # In parts, as they come, and then as an hour becomes part of a day.
    hour = Rollup()
    for start in range(0, len(rows), parts):
        hour = put_together([*hour.rows, *rows[start : start + parts]], limit)
        assert len(hour.rows) <= limit
        assert len({key_of(row) for row in hour.rows}) == len(hour.rows)
    assert sums(hour.rows) == sums(rows)
    day = put_together([*hour.rows, *hour.rows], limit)
    assert sums(day.rows) == [2 * each for each in sums(rows)]
    if len({key_of(row) for row in rows}) <= limit:
        assert put_together(rows, limit) == hour


@given(st.lists(_costs, max_size=40))
def test_w4_a_cost_is_money_once_and_waste_is_none(costs: list[Cost]) -> None:
    found = sums(put_together(map(row_of, costs)).rows)
    assert found == [
        sum(each.micros for each in costs if each.charge),
        sum(each.charge for each in costs),
        *(sum(each.micros for each in costs if each.waste is waste) for waste in Waste),
        sum(each.cheapest_micros or 0 for each in costs),
    ]


def test_w4_the_cheapest_tasks_of_an_hour_are_put_together_first() -> None:
    tasks = [cost("a", 10 + n, task_id=f"t{n}") for n in range(MAX_ROWS + 100)]
    tasks.append(cost("b", 1, operation="tool"))
    rollup = put_together(map(row_of, tasks))
    assert len(rollup.rows) == MAX_ROWS
    other = [row for row in rollup.rows if row.task_id == OTHER]
    assert [(row.swarm_id, row.operation, row.model) for row in other] == [
        ("a", "llm", ""),
        ("b", "tool", ""),
    ]
    # 600 tasks and one cost without a task: of 601, the cheapest 103 make 2 rows.
    assert [row.count for row in other] == [102, 1]
    assert other[0].micros == sum(10 + n for n in range(102))


def test_w4_then_models_operations_and_swarms_are_put_together() -> None:
    rows = [
        Row(swarm_id=f"s{n}", operation=f"o{n}", model=f"m{n}", micros=n, count=1) for n in range(5)
    ]
    assert put_together(rows, 1).rows == (
        Row(swarm_id=OTHER, operation=OTHER, model=OTHER, task_id=OTHER, micros=10, count=5),
    )


def test_w4_hours_older_than_30_days_are_days_and_days_go_after_400() -> None:
    now = datetime(2026, 5, 4, 10, 30, tzinfo=UTC)
    assert name_at(now, now) == "2026-05-04T10"
    # One day has been over for 30 days, the next one for 29.
    assert name_at(now - timedelta(days=31), now) == "2026-04-03"
    assert name_at(now - timedelta(days=30), now) == "2026-04-04T10"
    assert span("2026-04-03") == (
        datetime(2026, 4, 3, tzinfo=UTC),
        datetime(2026, 4, 4, tzinfo=UTC),
    )
    stored = [
        *("2025-03-28", "2025-03-29", "2025-03-30"),
        *("2026-04-03", "2026-04-03T09", "2026-04-03T23", "2026-04-04T00"),
    ]
    assert due(stored, now) == {
        "2025-03-28": [],
        "2025-03-29": [],
        "2026-04-03": ["2026-04-03T09", "2026-04-03T23"],
    }


@given(st.datetimes(timezones=st.just(UTC)), st.timedeltas(timedelta(0), timedelta(days=500)))
def test_w4_every_cost_lies_in_its_rollup(time: datetime, age: timedelta) -> None:
    try:
        now = time + age
        begin, end = span(name_at(time, now))
    except OverflowError:
        return
    assert begin <= time < end


@pytest.mark.parametrize(
    ("spent", "own", "other", "result"),
    [
        (900, 3_000_000, 1_000_000, 300),
        (1_000, 3_000_000, 1_000_000, 333),
        (900, 3_000_000, 3_000_000, 900),
        (900, 3_000_000, None, 900),
        (900, 3_000_000, 0, 900),
        (900, 0, 1_000_000, 900),
        (900, 1_000_000, 3_000_000, 900),
    ],
)
def test_w4_what_it_would_have_cost_on_the_cheapest_swarm(
    spent: int, own: int, other: int | None, result: int
) -> None:
    assert cheapest(spent, own, other) == result
