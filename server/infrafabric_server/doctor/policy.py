"""Checks the file of the policy, as a server would, and compares it with that of the replicas."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from infrafabric_server.doctor.findings import Finding, Subject
from infrafabric_server.fleet.presence import ReplicaPolicy
from infrafabric_server.governor.policy.checking import check
from infrafabric_server.governor.policy.file import read, told

_SUBJECT = Subject("policy")


def examine(path: Path) -> list[Finding]:
    """Return whether a file can come into force; its hash must be the same at every replica."""
    try:
        checked = check(read(path))
    except OSError as error:
        text = f"{path} cannot be read: {error.strerror}"
        return [_SUBJECT.problem("file", text, "correct the file or the setting")]
    advice = "correct the file; `infrafabric policy check` says when it is good"
    found = [_SUBJECT.problem("file", told(path, (each,)), advice) for each in checked.problems]
    return found or [_SUBJECT.ok("file", f"{path}, {checked.cases} cases, hash {checked.hash}")]


def digest(path: Path | None) -> str:
    """Return the hash of a file, that of nothing without one; "" when it cannot be read."""
    try:
        return hashlib.sha256(b"" if path is None else read(path)).hexdigest()
    except OSError:
        return ""


def agreement(subject: Subject, here: str, running: Sequence[ReplicaPolicy]) -> Finding:
    """Return whether all replicas that run go by the policy of this file, whose hash is `here`."""
    if all(each.policy_hash == here for each in running):
        count = len(running)
        return subject.ok("policies", f"{count} that run have this one")
    told = sorted({f"{each.policy_hash} at {each.host}" for each in running})
    return subject.note(
        "policies",
        f"this one has the hash {here}; replicas go by {', '.join(told)}",
        "give every replica the same file; each decides by its own until then",
    )
