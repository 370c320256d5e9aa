"""Texts for everyone, as they are sent to one session."""

from datetime import UTC, datetime

from infrafabric_server.coordinator.announcements import sayings
from infrafabric_server.fleet.models import Broadcast


def text(message: str) -> Broadcast:
    return Broadcast(message=message, send_time=datetime(2026, 1, 1, tzinfo=UTC))


def test_a_session_that_missed_nothing_is_told_nothing() -> None:
    assert sayings([]) == []


def test_n6_only_the_last_text_of_a_revision_ends_it() -> None:
    said = sayings([(7, text("c")), (5, text("a")), (5, text("b"))])
    assert [(each.broadcast.message, each.revision) for each in said] == [
        ("a", 4),
        ("b", 5),
        ("c", 7),
    ]
