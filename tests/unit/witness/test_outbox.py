import json

import pytest

from infrafabric_server.errors import FabricError, Reason
from infrafabric_server.witness.outbox import MAX_DRAFT_CHARACTERS, MAX_WAITING, PREFIX, Outbox
from tests.unit.witness.support import HandClock


def test_a_draft_is_readable_json_without_what_is_empty() -> None:
    put = Outbox(HandClock(), "r1", ()).draft(
        "coordinator", "claim_won", swarm_id="s", attempt=2, details={"cost_micros": 7}
    )
    assert put.key.startswith(PREFIX)
    assert put.lease == 0
    assert json.loads(put.value) == {
        "time": "2026-01-02T03:04:05.678901Z",
        "component": "coordinator",
        "operation": "claim_won",
        "swarm_id": "s",
        "attempt": 2,
        "details": {"cost_micros": 7},
    }


def test_keys_rise_with_each_draft() -> None:
    outbox = Outbox(HandClock(), "r1", ())
    keys = [outbox.draft("c", "o").key for _ in range(5000)]
    assert keys == sorted(set(keys))


def test_keys_differ_between_replicas_and_between_starts() -> None:
    clock = HandClock()
    keys = {
        Outbox(clock, "r1", ()).draft("c", "o").key,
        Outbox(clock, "r2", ()).draft("c", "o").key,
    }
    clock.seconds += 0.000_001
    keys.add(Outbox(clock, "r1", ()).draft("c", "o").key)
    assert len(keys) == 3


def test_a_full_outbox_refuses_and_says_when_to_try_again() -> None:
    waiting = range(MAX_WAITING)
    with pytest.raises(FabricError, match=f"{MAX_WAITING} decisions wait") as caught:
        Outbox(HandClock(), "r1", waiting).check()
    assert caught.value.reason is Reason.OUTBOX_FULL
    assert caught.value.retry_after == 1.0
    Outbox(HandClock(), "r1", waiting[1:]).check()


def test_a_draft_that_is_too_long_is_refused_by_name() -> None:
    outbox = Outbox(HandClock(), "r1", ())
    with pytest.raises(ValueError, match="entry big has"):
        outbox.draft("c", "big", details={"text": "x" * MAX_DRAFT_CHARACTERS})
    outbox.draft("c", "big", details={"text": "x" * (MAX_DRAFT_CHARACTERS - 200)})
