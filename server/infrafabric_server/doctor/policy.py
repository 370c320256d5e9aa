"""Checks the file of the policy, as a server would."""

from pathlib import Path

from infrafabric_server.doctor.findings import Finding, Subject
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
