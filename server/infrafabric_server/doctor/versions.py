"""What is known of the releases of etcd and NATS.

etcd: what its maintainers announced, and its changelogs. 3.5.0 to 3.5.2 can write an incomplete
transaction when they crash under load (issue 13766); before 3.5.6 a crash while defragmenting
makes a member differ from the others (14685), and 3.4.20, 3.4.21 and 3.5.5 do so when a member is
added and users are on; before 3.4.36 and 3.5.20 a compaction can forget deletions at its own
revision, which the store's adapter works around.

NATS: in 2.10 before 2.10.23 servers that were killed can forget a stream (issue 6888).
"""

import re

from infrafabric_server.doctor.findings import Finding, Subject

_CHECK = "version"
_UPGRADE_ETCD = "upgrade every member to the newest release of etcd 3.5 or 3.6, one at a time"
_UPGRADE_NATS = "upgrade every NATS server to the newest release, one at a time"

Release = tuple[int, int, int]


def release(text: str) -> Release | None:
    """Return the numbers of a version such as `v3.5.12-rc.1`; None for another text."""
    found = re.match(r"v?(\d{1,9})\.(\d{1,9})\.(\d{1,9})", text)
    return (int(found[1]), int(found[2]), int(found[3])) if found else None


def etcd_version(subject: Subject, text: str) -> Finding:
    """Judge the version that a member of etcd tells."""
    known = release(text)
    if known is None:
        return subject.note(_CHECK, f"{text!r} is no known version", "look whether it is etcd")
    if known < (3, 4, 0):
        return subject.problem(_CHECK, f"{text} is older than 3.4, the oldest used", _UPGRADE_ETCD)
    if (3, 5, 0) <= known <= (3, 5, 2):
        return subject.problem(_CHECK, f"{text} can lose data when it crashes", _UPGRADE_ETCD)
    if (3, 5, 0) <= known < (3, 5, 6) or known in ((3, 4, 20), (3, 4, 21)):
        return subject.note(
            _CHECK,
            f"members of {text} can come to differ (crash while defragmenting, or a new member)",
            _UPGRADE_ETCD,
        )
    if known < (3, 4, 36) or (3, 5, 0) <= known < (3, 5, 20):
        return subject.note(
            _CHECK, f"{text} can forget deletions when it compacts, which is allowed for",
            _UPGRADE_ETCD,
        )  # fmt: skip
    return subject.ok(_CHECK, text)


def nats_version(subject: Subject, text: str) -> Finding:
    """Judge the version that a NATS server tells."""
    known = release(text)
    if known is None:
        return subject.note(_CHECK, f"{text!r} is no known version", "look whether it is NATS")
    if known < (2, 10, 0):
        return subject.problem(_CHECK, f"{text} is older than 2.10, the oldest used", _UPGRADE_NATS)
    if known < (2, 10, 23):
        return subject.problem(
            _CHECK, f"{text} can forget the witness log when it is killed", _UPGRADE_NATS
        )
    return subject.ok(_CHECK, text)
