"""The frames between the service and a worker, whatever the bytes are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infrafabric_server.chassis.sandbox.frames import (
    CALL_NAME_BYTES,
    HEADER_BYTES,
    LOG_BYTES,
    Broken,
    Kind,
    header,
    join_call,
    read_header,
    split_call,
)

_ALL = frozenset(Kind)


@given(st.sampled_from(Kind), st.integers(0, LOG_BYTES))
def test_x2_a_header_says_what_was_written(kind: Kind, size: int) -> None:
    assert read_header(header(kind, size), _ALL) == (kind, size)


@given(st.binary(min_size=HEADER_BYTES, max_size=HEADER_BYTES), st.sets(st.sampled_from(Kind)))
def test_x2_any_header_is_within_bounds_or_refused(data: bytes, expected: set[Kind]) -> None:
    try:
        kind, size = read_header(data, frozenset(expected))
    except Broken:
        return
    assert kind in expected
    # What is accepted could have been written.
    assert header(kind, size) == data


@given(st.sampled_from(Kind), st.integers(0, 1 << 31), st.integers(0, 1 << 20))
def test_x2_a_tighter_bound_is_kept(kind: Kind, size: int, most: int) -> None:
    data = (size + 1).to_bytes(4, "big") + bytes([kind])
    if size > most:
        with pytest.raises(Broken):
            read_header(data, _ALL, {kind: most})
    elif size <= LOG_BYTES:
        assert read_header(data, _ALL, {kind: most}) == (kind, size)


@pytest.mark.parametrize("kind", Kind)
def test_x2_every_kind_has_a_bound(kind: Kind) -> None:
    with pytest.raises(Broken, match=f"{kind.name} has"):
        header(kind, 1 << 31)


@given(st.text(min_size=1), st.binary(max_size=64))
def test_x2_a_call_is_split_as_it_was_joined(name: str, body: bytes) -> None:
    try:
        joined = join_call(name, body)
    except UnicodeEncodeError:
        return
    except Broken:
        assert len(name.encode()) > CALL_NAME_BYTES
        return
    assert split_call(joined) == (name, body)


@given(st.binary(max_size=300))
def test_x2_any_call_is_whole_or_refused(body: bytes) -> None:
    try:
        name, rest = split_call(body)
    except Broken:
        return
    assert join_call(name, rest) == body
