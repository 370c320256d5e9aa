"""What the JSON API accepts, and how it names what it does not."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from infrafabric_server.errors import InvalidField
from infrafabric_server.fleet.models import Status
from infrafabric_server.gateway.bodies import parse
from infrafabric_server.gateway.requests import StatusBody
from infrafabric_server.notify.models import StatusReport


def accepted(text: str) -> StatusReport:
    fields = {name: value for name, value in parse(text.encode(), Decimal).items() if value}
    return StatusBody.model_validate({"session_id": "s", **fields}).report(Status.IDLE)


@pytest.mark.parametrize(
    ("number", "micros"),
    [
        ("0", 0),
        ("12.5", 12_500_000),
        ("0.1", 100_000),
        ("0.30000000000000004", 300_000),
        ("1e-6", 1),
        ("0.0000005", 0),
        ("0.0000015", 2),
        ("1000000", 10**12),
        ("1E+6", 10**12),
    ],
)
def test_n4_dollars_become_micro_dollars_exactly(number: str, micros: int) -> None:
    assert accepted(f'{{"cost_spent": {number}}}').cost_spent_micros == micros


@given(st.integers(0, 10**12))
def test_n4_every_amount_of_micro_dollars_survives_the_way_through_a_float(micros: int) -> None:
    assert accepted(json.dumps({"cost_spent": micros / 10**6})).cost_spent_micros == micros


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2025-11-12T13:00:00", datetime(2025, 11, 12, 13, tzinfo=UTC)),
        ("2025-11-12T13:00:00.123456", datetime(2025, 11, 12, 13, 0, 0, 123456, tzinfo=UTC)),
        ("2025-11-12T13:00:00Z", datetime(2025, 11, 12, 13, tzinfo=UTC)),
        ("2025-11-12T13:00:00+02:00", datetime(2025, 11, 12, 11, tzinfo=UTC)),
    ],
)
@pytest.mark.parametrize("field", ["time", "timestamp"])
def test_n4_a_time_without_a_zone_is_utc(field: str, text: str, expected: datetime) -> None:
    assert accepted(json.dumps({field: text})).time == expected


def test_n4_null_is_absent_and_unknown_fields_are_ignored() -> None:
    names = ("last_task", "capabilities", "cost_spent", "message", "time", "waiting_since")
    assert accepted(json.dumps(dict.fromkeys(names) | {"mood": "fine"})) == accepted("{}")


BAD_FIELDS: list[tuple[str, Any]] = [
    ("session_id", ""),
    ("session_id", "-a"),
    ("session_id", "a b"),
    ("session_id", "a\n"),
    ("session_id", "ä"),
    ("session_id", "a" * 129),
    ("session_id", 7),
    ("session_id", ["a"]),
    ("status", 5),
    ("time", "yesterday"),
    ("time", 1_700_000_000),
    ("time", "0001-01-01T00:00:00+23:00"),
    ("timestamp", "9999-12-31T23:59:59-23:00"),
    ("waiting_since", {}),
    ("last_task", "x" * 257),
    ("last_task", 3),
    ("last_task", "\ud800"),
    ("capabilities", "rust"),
    ("capabilities", {"rust": 1}),
    ("capabilities[1]", ["rust", "no blanks"]),
    ("capabilities[0]", [None]),
    ("capabilities", [f"c{i}" for i in range(65)]),
    ("cost_spent", -0.5),
    ("cost_spent", 1_000_000.5),
    ("cost_spent", "3"),
    ("cost_spent", True),
    ("cost_spent", [1]),
    ("cost_spent", float("nan")),
    ("cost_spent", float("inf")),
    ("tasks_completed", -1),
    ("tasks_completed", 1.5),
    ("tasks_completed", True),
    ("tasks_completed", 10**13),
    ("message", "x" * 4097),
    ("message", 1),
    ("needs", "rust"),
]


@pytest.mark.parametrize(("field", "value"), BAD_FIELDS, ids=lambda value: repr(value)[:30])
def test_n4_bad_fields_are_named(field: str, value: Any) -> None:
    name = field.partition("[")[0]
    body = parse(json.dumps({"session_id": "s", name: value}).encode(), Decimal)
    with pytest.raises(ValidationError) as caught:
        StatusBody.model_validate(body)
    assert [error["loc"][0] for error in caught.value.errors()] == [name]


def test_n4_a_number_with_a_huge_exponent_costs_nothing_to_refuse() -> None:
    body = parse(b'{"session_id": "s", "cost_spent": 1e999999999}', Decimal)
    with pytest.raises(ValidationError):
        StatusBody.model_validate(body)


def test_n4_a_status_that_contradicts_the_path_is_refused() -> None:
    body = StatusBody.model_validate({"session_id": "s", "status": "busy"})
    assert body.report(Status.BUSY).status is Status.BUSY
    with pytest.raises(InvalidField) as caught:
        body.report(Status.IDLE)
    assert [violation.field for violation in caught.value.fields] == ["status"]


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"  ",
        b"{",
        b"\xff",
        b'{"a": 1e99999999999999999999}',
        b"9" * 5000,
        b"[" * 100_000,
        b'{"a":' * 100_000,
        "\ufeff{}".encode(),
        "{}".encode("utf-16"),
    ],
    ids=lambda raw: repr(raw[:12]),
)
def test_n4_what_is_no_json_is_refused_as_the_body(raw: bytes) -> None:
    with pytest.raises(InvalidField) as caught:
        parse(raw, Decimal)
    assert [violation.field for violation in caught.value.fields] == ["body"]


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
@example(b'"\\ud800"')
def test_n4_any_bytes_are_parsed_or_refused(raw: bytes) -> None:
    fields = ["body"]
    try:
        parse(raw)
    except InvalidField as refusal:
        fields = [violation.field for violation in refusal.fields]
    assert fields == ["body"]
