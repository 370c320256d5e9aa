"""Times and durations: protobuf at the edge, UTC datetimes and timedeltas inside."""

from datetime import UTC, datetime, timedelta

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from infrafabric_server.errors import FieldViolation, InvalidField

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# 0001-01-01T00:00:00Z and 9999-12-31T23:59:59Z, the bounds of google.protobuf.Timestamp.
_FIRST_SECOND = -62_135_596_800
_LAST_SECOND = 253_402_300_799
_NANOS = 1_000_000_000


def from_timestamp(field: str, value: Timestamp) -> datetime:
    """Return `value` in UTC, cut to microseconds.

    Raises:
        InvalidField: it is outside the years 1 to 9999, or its nanos are not 0 to 999,999,999.
    """
    if not (_FIRST_SECOND <= value.seconds <= _LAST_SECOND and 0 <= value.nanos < _NANOS):
        rule = "must be a time in the years 1 to 9999, with nanos from 0 to 999999999"
        raise InvalidField(FieldViolation(field, rule))
    return _EPOCH + timedelta(seconds=value.seconds, microseconds=value.nanos // 1000)


def to_timestamp(value: datetime) -> Timestamp:
    """Return a time that carries a zone as a Timestamp."""
    passed = value - _EPOCH
    return Timestamp(
        seconds=passed.days * 86_400 + passed.seconds, nanos=passed.microseconds * 1000
    )


def from_duration(
    field: str, value: Duration, *, least: timedelta = timedelta(0), most: timedelta
) -> timedelta:
    """Return `value`, cut to microseconds.

    Raises:
        InvalidField: it is below `least`, above `most`, or its nanos break their rule.
    """
    # Compared as whole nanoseconds: a timedelta cannot hold every Duration.
    total = value.seconds * _NANOS + value.nanos
    in_range = _nanoseconds(least) <= total <= _nanoseconds(most)
    if not in_range or abs(value.nanos) >= _NANOS:
        rule = (
            f"must be a duration of {least.total_seconds():g} to {most.total_seconds():g} seconds"
        )
        raise InvalidField(FieldViolation(field, rule))
    return timedelta(microseconds=total // 1000)


def to_duration(value: timedelta) -> Duration:
    """Return a length of time as a Duration."""
    seconds, rest = divmod(value, timedelta(seconds=1))
    if seconds < 0 and rest:
        # Seconds and nanos of a Duration have the same sign.
        seconds, rest = seconds + 1, rest - timedelta(seconds=1)
    return Duration(seconds=seconds, nanos=rest // timedelta(microseconds=1) * 1000)


def _nanoseconds(value: timedelta) -> int:
    return value // timedelta(microseconds=1) * 1000
