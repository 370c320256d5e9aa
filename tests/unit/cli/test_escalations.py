"""How escalations are shown: on one line, with all that a person has to know."""

from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp

from infrafabric.v1.escalation_pb2 import (
    ESCALATION_KIND_BREAKER,
    ESCALATION_STATE_ACKNOWLEDGED,
    ESCALATION_STATE_OPEN,
    Escalation,
)
from infrafabric.v1.governor_escalation_pb2 import (
    EscalationEvent,
    EscalationGap,
    EscalationSnapshotEnd,
)
from infrafabric_cli.escalations import details, line, row, told

BEGIN = Timestamp(seconds=1767261600)
OPEN = Escalation(
    escalation_id="breaker:anna",
    state=ESCALATION_STATE_OPEN,
    level=2,
    summary="it is open",
    create_time=BEGIN,
    dead_letters=["chat", "pager"],
)
TAKEN = Escalation(
    escalation_id="breaker:ben",
    state=ESCALATION_STATE_ACKNOWLEDGED,
    level=1,
    summary="it is open",
    acknowledged_by="mary",
    acknowledgement="on my way",
    kind=ESCALATION_KIND_BREAKER,
    swarm_id="ben",
)


def test_g7_a_line_tells_who_takes_care_and_who_was_not_told() -> None:
    assert line(OPEN) == "breaker:anna: open, level 2: it is open (not delivered: chat, pager)"
    assert line(TAKEN) == "breaker:ben: acknowledged by mary, level 1: it is open"


def test_g7_a_row_lists_the_dead_letters() -> None:
    now = datetime(2026, 1, 1, 10, 20, tzinfo=UTC)
    assert row(OPEN, now) == (
        "breaker:anna",
        "open",
        "2",
        "20 min",
        "",
        "chat,pager",
        "it is open",
    )


def test_u3_details_are_all_that_is_known() -> None:
    known = dict(details(TAKEN))
    assert known == {
        "escalation": "breaker:ben",
        "kind": "breaker",
        "state": "acknowledged",
        "level": "1",
        "swarm": "ben",
        "summary": "it is open",
        "acknowledged by": "mary",
        "note": "on my way",
    }
    assert dict(details(OPEN))["began"] == "2026-01-01 10:00:00Z"
    assert dict(details(OPEN))["undelivered"] == "chat, pager"


def test_g7_of_a_watch_every_event_that_matters_is_told() -> None:
    assert told(EscalationEvent(changed=TAKEN)) == line(TAKEN)
    assert told(EscalationEvent(removed_id="breaker:anna")) == "breaker:anna: kept no more"
    assert told(EscalationEvent(gap=EscalationGap())).startswith("changes were missed")
    assert told(EscalationEvent(snapshot_end=EscalationSnapshotEnd())) == ""
