"""How far another machine's clock is from ours, as far as an answer of it tells."""

from datetime import datetime, timedelta

from infrafabric_server.doctor.findings import Finding, Subject

# Times of the fabric are those of the replica that decided, and deadlines those of the leader:
# so far apart they look odd to people; further, tasks are offered early or late.
_ODD = timedelta(seconds=1)
_WRONG = timedelta(seconds=10)


def least_skew(
    before: datetime, told: datetime, after: datetime, resolution: timedelta = timedelta(0)
) -> timedelta:
    """Return by how much the other clock is ahead of ours at least; negative when it is behind.

    Args:
        before: our clock when the question was sent.
        told: the other clock, when it answered.
        after: our clock when the answer was there.
        resolution: the answer was cut to whole units of this.
    """
    if told > after:
        return told - after
    if told + resolution < before:
        return told + resolution - before
    return timedelta(0)


def judged(subject: Subject, skew: timedelta, known_to: str) -> Finding:
    """Judge by how much a clock is wrong at least; `known_to` tells how well that is known."""
    seconds = skew.total_seconds()
    if abs(skew) <= _ODD:
        return subject.ok("clock", f"agrees with this machine's ({known_to})")
    where = "ahead of" if seconds > 0 else "behind"
    text = f"at least {abs(seconds):.1f} s {where} this machine's"
    advice = "let every machine follow the same time servers (chrony, systemd-timesyncd)"
    if abs(skew) > _WRONG:
        return subject.problem("clock", text, advice)
    return subject.note("clock", text, advice)
