from datetime import UTC, datetime, timedelta, timezone

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from infrafabric_server.edge.times import (
    from_duration,
    from_timestamp,
    to_duration,
    to_timestamp,
)
from infrafabric_server.errors import InvalidField

YEAR = timedelta(days=365)


@given(st.datetimes(timezones=st.just(UTC)))
def test_times_come_back(time: datetime) -> None:
    wire = to_timestamp(time)
    assert 0 <= wire.nanos < 10**9
    assert wire.ToDatetime(UTC) == time
    assert from_timestamp("field", wire) == time


def test_a_time_of_another_zone_is_the_same_moment() -> None:
    time = datetime(2026, 1, 1, 5, tzinfo=timezone(timedelta(hours=5)))
    assert from_timestamp("field", to_timestamp(time)) == datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "nanos"),
    [(-62_135_596_801, 0), (253_402_300_800, 0), (0, -1), (0, 10**9), (2**63 - 1, 0)],
)
def test_times_beyond_the_contract_are_refused(seconds: int, nanos: int) -> None:
    with pytest.raises(InvalidField, match="deadline_time: must be a time in the years 1 to 9999"):
        from_timestamp("deadline_time", Timestamp(seconds=seconds, nanos=nanos))


@given(st.timedeltas(-YEAR, YEAR))
def test_durations_come_back(length: timedelta) -> None:
    wire = to_duration(length)
    assert wire.seconds * wire.nanos >= 0
    assert wire.ToTimedelta() == length
    assert from_duration("field", wire, least=-YEAR, most=YEAR) == length


@pytest.mark.parametrize(
    ("seconds", "nanos"),
    [(0, 999_999_999), (61, 0), (60, 1), (-1, 0), (2**63 - 1, 0), (0, 2 * 10**9)],
)
def test_durations_out_of_range_are_refused(seconds: int, nanos: int) -> None:
    minute, second = timedelta(minutes=1), timedelta(seconds=1)
    with pytest.raises(InvalidField, match="wait: must be a duration of 1 to 60 seconds"):
        from_duration("wait", Duration(seconds=seconds, nanos=nanos), least=second, most=minute)
    assert from_duration("wait", Duration(seconds=60), least=second, most=minute) == minute
