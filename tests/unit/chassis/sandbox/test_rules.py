"""Rules of the box that need no process."""

from hypothesis import given
from hypothesis import strategies as st

from infrafabric_server.chassis.sandbox.bucket import TokenBucket
from infrafabric_server.chassis.sandbox.limits import Limits
from infrafabric_server.chassis.sandbox.outcome import ViolationKind, full_memory

_MIB = 1 << 20


@given(st.integers(1, 50), st.lists(st.floats(0, 3), max_size=200))
def test_x2_no_second_has_more_than_twice_its_calls(rate: int, waits: list[float]) -> None:
    bucket = TokenBucket(rate, 0.0)
    now, allowed = 0.0, []
    for wait in waits:
        now += wait
        if bucket.take(now):
            allowed.append(now)
    # A full bucket and what flows in within the second.
    for start in allowed:
        assert sum(start <= it < start + 1 for it in allowed) <= 2 * rate
    assert bucket.taken == len(waits)


def test_x2_a_bucket_is_full_at_first_and_again_after_a_second() -> None:
    bucket = TokenBucket(5, 10.0)
    assert [bucket.take(10.0) for _ in range(6)] == [True] * 5 + [False]
    assert bucket.per_second(10.0) == 6
    assert [bucket.take(11.0) for _ in range(6)] == [True] * 5 + [False]
    assert bucket.per_second(13.0) == 4


def test_x2_memory_is_full_when_a_sixteenth_or_a_page_is_missing() -> None:
    limits = Limits(max_memory_mb=16)
    assert full_memory(limits, 15 * _MIB) is None
    violation = full_memory(limits, 15 * _MIB + 65_536)
    assert violation is not None
    assert violation.kind is ViolationKind.MEMORY
    assert (violation.limit, violation.observed) == (16 * _MIB, 15 * _MIB + 65_536)
    # The smallest limit has sixteen pages.
    assert full_memory(Limits(max_memory_mb=1), 15 * 65_536) is None
    assert full_memory(Limits(max_memory_mb=1), 16 * 65_536) is not None
