import json
from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infrafabric.v1.entry_pb2 import Entry as WireEntry
from infrafabric_server.witness.chain import (
    GENESIS,
    Break,
    Verification,
    Verifier,
    link_hash,
    read_entry,
    verify,
)
from infrafabric_server.witness.models import Entry
from tests.unit.witness.support import START, chain

LENGTH = 8
CHAIN = chain(LENGTH)
positions = st.integers(0, LENGTH - 1)


def first_bad(entries: list[Entry]) -> int | None:
    broken = verify(entries).broken
    return None if broken is None else broken.sequence


def resealed(entry: Entry, **changes: Any) -> Entry:
    """Return `entry` with another content and the hash that belongs to it."""
    body = json.dumps(
        json.loads(entry.body) | changes, sort_keys=True, separators=(",", ":"), ensure_ascii=False
    )
    return replace(entry, body=body, hash=link_hash(entry.previous_hash, body), **changes)


def test_an_untouched_chain_is_good() -> None:
    assert verify(CHAIN) == Verification(LENGTH, CHAIN[-1].hash, None)
    assert verify([]) == Verification(0, GENESIS, None)


def test_the_hash_is_the_one_of_the_contract() -> None:
    first, second = CHAIN[:2]
    assert first.previous_hash == "0" * 64
    assert second.previous_hash == first.hash
    text = f"{second.previous_hash}\n{second.body}"
    assert second.hash == sha256(text.encode()).hexdigest()


def test_the_body_is_canonical_json_of_all_fields() -> None:
    body = CHAIN[1].body
    assert body == json.dumps(
        {
            "attempt": 1,
            "component": "coordinator",
            "decide_time": "2026-01-02T03:04:06.678901Z",
            "details": {"cost_micros": 1, "list": [1, None, True, {"a": "b"}], "note": "übrig\n"},
            "entry_id": CHAIN[1].entry_id,
            "operation": "claim_won",
            "revision": 2,
            "sequence": 2,
            "swarm_id": "swarm-1",
            "task_id": "task-1",
        },
        separators=(",", ":"),
        ensure_ascii=False,
    )
    assert CHAIN[0].decide_time == START
    assert read_entry(body, CHAIN[0].hash) == CHAIN[1]


@given(positions, st.data())
def test_w1_any_change_of_any_field_is_found_at_its_entry(index: int, data: st.DataObject) -> None:
    entry = CHAIN[index]
    name = data.draw(st.sampled_from(entry.__slots__))
    old = getattr(entry, name)
    strategy = {
        int: st.integers(-(2**63), 2**63 - 1),
        str: st.text(),
        type(START): st.datetimes().map(lambda time: time.replace(tzinfo=START.tzinfo)),
    }[type(old)]
    change: dict[str, Any] = {name: data.draw(strategy.filter(lambda value: value != old))}
    changed = replace(entry, **change)
    assert first_bad([*CHAIN[:index], changed, *CHAIN[index + 1 :]]) == index + 1


@given(positions, st.data())
def test_w1_any_changed_character_of_a_body_is_found(index: int, data: st.DataObject) -> None:
    body = CHAIN[index].body
    place = data.draw(st.integers(0, len(body) - 1))
    other = data.draw(st.characters().filter(lambda character: character != body[place]))
    changed = replace(CHAIN[index], body=body[:place] + other + body[place + 1 :])
    assert first_bad([*CHAIN[:index], changed, *CHAIN[index + 1 :]]) == index + 1


@given(positions, st.sampled_from(["operation", "swarm_id", "task_id", "component"]), st.text())
def test_w1_a_forged_entry_with_its_own_right_hash_breaks_the_next_link(
    index: int, name: str, value: str
) -> None:
    forged = resealed(CHAIN[index], **{name: value + "!"})
    result = verify([*CHAIN[:index], forged, *CHAIN[index + 1 :]])
    if index == LENGTH - 1:
        # Nothing follows that could tell: only a noted hash shows it.
        assert result.broken is None
        assert result.hash != CHAIN[-1].hash
    else:
        assert result.broken == Break(
            index + 2, f"it does not follow entry {index + 1}: one of the two was replaced"
        )


@given(st.integers(0, LENGTH - 2), st.integers(1, LENGTH))
def test_w1_missing_entries_are_found(index: int, count: int) -> None:
    rest = CHAIN[index + count :]
    result = verify([*CHAIN[:index], *rest])
    if rest:
        assert result.broken is not None
        assert result.broken.sequence == index + 1
        assert "missing" in result.broken.reason
    else:
        assert result == Verification(index, CHAIN[index - 1].hash if index else GENESIS, None)


@given(st.tuples(positions, positions).filter(lambda pair: pair[0] < pair[1]))
def test_w1_swapped_entries_are_found(pair: tuple[int, int]) -> None:
    swapped = list(CHAIN)
    swapped[pair[0]], swapped[pair[1]] = swapped[pair[1]], swapped[pair[0]]
    assert first_bad(swapped) == pair[0] + 1


@given(positions, positions)
def test_w1_a_repeated_entry_is_found(source: int, target: int) -> None:
    broken = verify([*CHAIN[: target + 1], CHAIN[source], *CHAIN[target + 1 :]]).broken
    assert broken is not None
    # Inserted before itself it is in its place: it is the one after it that comes again.
    assert broken.sequence == target + (3 if source == target + 1 else 2)


@given(positions)
def test_w1_renumbering_after_a_drop_does_not_hide_it(index: int) -> None:
    kept = [*CHAIN[:index], *CHAIN[index + 1 :]]
    renumbered = [replace(entry, sequence=place + 1) for place, entry in enumerate(kept)]
    assert first_bad(renumbered) == (index + 1 if index < LENGTH - 1 else None)


def test_a_cut_tail_shows_only_in_the_last_hash() -> None:
    """As the docstring of `chain` says: a bare chain cannot know how long it was."""
    assert verify(CHAIN[:-1]) == Verification(LENGTH - 1, CHAIN[-2].hash, None)


@pytest.mark.parametrize(
    "body",
    [
        "",
        "[]",
        "null",
        "{}",
        "[" * 100_000,
        '{"a": 1}',
        CHAIN[0].body.replace('"attempt":0', '"attempt":"0"'),
        CHAIN[0].body.replace('"attempt":0', '"attempt":NaN'),
        CHAIN[0].body.replace('"attempt":0,', '"attempt":0,"attempt":0,'),
        CHAIN[0].body.replace('"attempt":0,', '"attempt":0,"also":0,'),
        CHAIN[0].body.replace('"attempt":0,', ""),
        CHAIN[0].body.replace("{", "{ ", 1),
        CHAIN[0].body.replace("ü", "\\u00fc"),
        CHAIN[0].body.replace("2026-01-02T03:04:05.678901Z", "2026-01-02T04:04:05.678901+01:00"),
        CHAIN[0].body.replace("2026-01-02T03:04:05.678901Z", "0001-01-01T00:00:00+23:59"),
    ],
)
def test_a_body_that_is_not_canonical_is_found_even_with_a_right_hash(body: str) -> None:
    forged = replace(CHAIN[0], body=body, hash=link_hash(GENESIS, body))
    broken = verify([forged]).broken
    assert broken is not None
    assert broken.sequence == 1
    assert "body" in broken.reason


def test_once_broken_a_verifier_keeps_its_finding() -> None:
    verifier = Verifier()
    assert verifier.check(CHAIN[0]) is None
    broken = verifier.check(CHAIN[2])
    assert broken == Break(2, "it is missing: entry 3 comes instead")
    assert verifier.check(CHAIN[1]) == broken
    assert verifier.result == Verification(1, CHAIN[0].hash, broken)


def test_entries_of_the_contract_are_checked_as_they_come() -> None:
    def wire(entry: Entry, **changes: Any) -> WireEntry:
        names = [name for name in entry.__slots__ if name not in ("decide_time", "revision")]
        return WireEntry(**({name: getattr(entry, name) for name in names} | changes))

    assert verify([wire(entry) for entry in CHAIN]).broken is None
    forged = [wire(CHAIN[0]), wire(CHAIN[1], swarm_id="somebody-else")]
    assert verify(forged).broken == Break(2, "its swarm_id is not what its body says")
