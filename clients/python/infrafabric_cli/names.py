"""Short names for the values of the contract's enums, and durations and times for people."""

from datetime import UTC, datetime

from google.protobuf.descriptor import EnumDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp


def short(enum: EnumDescriptor, value: int) -> str:
    """Return `available` for TASK_STATE_AVAILABLE; the number of a value newer than this."""
    known = enum.values_by_number.get(value)
    return known.name.removeprefix(_prefix(enum)).lower() if known else str(value)


def value_of(enum: EnumDescriptor, name: str) -> int:
    """Return the value with a short name; raise ValueError with the names that there are."""
    known = enum.values_by_name.get(_prefix(enum) + name.upper())
    if known is None or not known.number:
        names = [short(enum, value.number) for value in enum.values if value.number]
        raise ValueError(f"must be one of {', '.join(names)}")
    return known.number


def moment(time: Timestamp) -> str:
    """Return a time in UTC to the second; empty for one that is not set."""
    if not (time.seconds or time.nanos):
        return ""
    return time.ToDatetime(UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def age(time: Timestamp, now: datetime) -> str:
    """Return how long ago a time is, such as `3 min`; empty for one that is not set."""
    if not (time.seconds or time.nanos):
        return ""
    return span(max(0.0, (now - time.ToDatetime(UTC)).total_seconds()))


def span(seconds: float) -> str:
    """Return a number of seconds in the unit that suits it."""
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def hours(duration: Duration) -> str:
    """Return a duration in hours with at most 6 decimals, as a board writes it; empty for none."""
    nanos = duration.seconds * 10**9 + duration.nanos
    millionths = round(nanos / 3_600_000)
    if not millionths:
        return ""
    whole, fraction = divmod(millionths, 10**6)
    return f"{whole}.{fraction:06d}".rstrip("0").rstrip(".")


def _prefix(enum: EnumDescriptor) -> str:
    # Every enum's zero is <PREFIX>_UNSPECIFIED.
    return enum.values_by_number[0].name.removesuffix("UNSPECIFIED")
