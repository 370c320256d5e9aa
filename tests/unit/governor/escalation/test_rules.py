"""What becomes of an escalation, whatever happens in whatever order, and however late."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from infrafabric_server.governor.escalation.models import (
    MAX_LEVEL,
    Cause,
    Escalation,
    Kind,
    Operation,
    State,
)
from infrafabric_server.governor.escalation.rules import (
    KEPT,
    acknowledge,
    decide,
    next_time,
    to_forget,
    undelivered,
)

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
RAISE_AFTER = timedelta(minutes=15)
CAUSE = Cause(kind=Kind.BREAKER, subject="anna", since=BEGIN, summary="it is open")


def opened(now: datetime = BEGIN, cause: Cause = CAUSE) -> Escalation:
    """Return an escalation as it begins."""
    step = decide(None, cause, now, RAISE_AFTER)
    assert step is not None
    assert step.operation is Operation.OPENED
    assert step.escalation is not None
    return step.escalation


def settled(known: Escalation | None, cause: Cause | None, now: datetime) -> Escalation | None:
    """Return what all steps that are due at a time come to."""
    for _ in range(3):
        step = decide(known, cause, now, RAISE_AFTER)
        if step is None:
            return known
        known = step.escalation
    raise AssertionError("the steps do not end")


def test_g7_levels_rise_on_time_until_the_highest() -> None:
    known: Escalation | None = opened()
    levels = []
    for minutes in (0, 14, 15, 29, 30, 45, 600):
        known = settled(known, CAUSE, BEGIN + timedelta(minutes=minutes))
        assert known is not None
        levels.append(known.level)
    assert levels == [1, 1, 2, 2, 3, 3, 3]
    assert known is not None
    assert next_time(known, RAISE_AFTER) is None


@given(st.lists(st.integers(0, 120), max_size=12))
def test_g7_it_comes_to_the_same_level_however_rarely_somebody_looks(looks: list[int]) -> None:
    end = BEGIN + timedelta(minutes=120)
    known: Escalation | None = opened()
    for minutes in sorted(looks):
        known = settled(known, CAUSE, BEGIN + timedelta(minutes=minutes))
    known = settled(known, CAUSE, end)
    late = settled(opened(), CAUSE, end)
    assert known is not None
    assert late is not None
    assert (known.level, known.raise_time) == (late.level, late.raise_time)


# An action, and how many minutes later the next one comes.
ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["begins", "ends", "changes", "look", "ack", "letter", "back in time"]),
        st.integers(0, 40),
    ),
    max_size=40,
)


@given(ACTIONS)
def test_g7_whatever_happens_it_follows_its_cause(actions: list[tuple[str, int]]) -> None:
    known: Escalation | None = None
    cause: Cause | None = None
    now = BEGIN
    for number, (action, minutes) in enumerate(actions):
        before = known
        now += timedelta(minutes=-minutes if action == "back in time" else minutes)
        if action == "begins":
            cause = CAUSE.model_copy(update={"since": now + timedelta(microseconds=number)})
        elif action == "ends":
            cause = None
        elif action == "changes" and cause is not None:
            cause = cause.model_copy(update={"summary": f"change {number}"})
        elif action == "ack" and known is not None:
            step = acknowledge(known, "mary", f"note {number}", now)
            assert (step is None) is (known.state is State.CLOSED)
            known = step.escalation if step is not None else known
        elif action == "letter" and known is not None:
            step = undelivered(known, "pager", now)
            known = step.escalation if step is not None else known
        if known is not None and before is not None and known is not before:
            assert known.updates == before.updates + 1
        known = settled(known, cause, now)
        assert decide(known, cause, now, RAISE_AFTER) is None
        if cause is None:
            assert known is None or known.state is State.CLOSED
        else:
            assert known is not None
            assert known.state is not State.CLOSED
            assert (known.since, known.summary) == (cause.since, cause.summary)
            assert 1 <= known.level <= MAX_LEVEL
            if known.state is State.ACKNOWLEDGED:
                assert next_time(known, RAISE_AFTER) is None


def test_g7_acknowledged_it_rises_no_more_and_begins_anew_with_the_next_incident() -> None:
    step = acknowledge(opened(), "mary", "on it", BEGIN)
    assert step is not None
    later = BEGIN + timedelta(days=3)
    taken = settled(step.escalation, CAUSE, later)
    assert taken is not None
    assert (taken.level, taken.state) == (1, State.ACKNOWLEDGED)
    assert acknowledge(taken, "mary", "on it", later) is None
    other = acknowledge(taken, "ben", "", later)
    assert other is not None
    assert other.escalation is not None
    assert (other.escalation.acknowledged_by, other.escalation.acknowledgement) == ("ben", "")
    again = CAUSE.model_copy(update={"since": later})
    reopened = settled(taken, again, later)
    assert reopened is not None
    assert (reopened.state, reopened.level, reopened.create_time) == (State.OPEN, 1, later)
    assert reopened.acknowledged_by == ""
    assert reopened.updates == taken.updates + 1


def test_g7_a_closed_one_is_kept_for_a_day() -> None:
    closed = settled(opened(), None, BEGIN)
    assert closed is not None
    assert next_time(closed, RAISE_AFTER) == BEGIN + KEPT
    assert settled(closed, None, BEGIN + KEPT - timedelta(seconds=1)) == closed
    assert settled(closed, None, BEGIN + KEPT) is None


def test_g7_the_oldest_closed_ones_make_room_and_no_open_one_does() -> None:
    closed = []
    for minutes in (3, 1, 2):
        cause = CAUSE.model_copy(update={"subject": f"s{minutes}"})
        known = settled(opened(cause=cause), None, BEGIN + timedelta(minutes=minutes))
        assert known is not None
        closed.append(known)
    forgotten = to_forget([opened(), *closed], 2)
    assert [each.escalation_id for each in forgotten] == ["breaker:s1", "breaker:s2"]


def test_g7_a_summary_is_cut_to_what_a_field_may_hold() -> None:
    assert len(CAUSE.model_validate({**dict(CAUSE), "summary": "x" * 9000}).summary) == 4096
