"""What a check has found."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from infrafabric_server.store.protocol import StoreRefused


class Level(StrEnum):
    """How bad it is: a note can wait, a problem costs data, work or a start."""

    OK = "ok"
    NOTE = "note"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of a report.

    `subject` is what was looked at, such as `etcd 10.0.0.1:2379`, `check` what of it, `text`
    what was found, and `advice` what to do about it; that is empty when all is well.
    """

    subject: str
    check: str
    level: Level
    text: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Subject:
    """Makes the findings about one thing."""

    name: str

    def ok(self, check: str, text: str) -> Finding:
        """Return that all is well."""
        return Finding(self.name, check, Level.OK, text)

    def note(self, check: str, text: str, advice: str) -> Finding:
        """Return something that can wait."""
        return Finding(self.name, check, Level.NOTE, text, advice)

    def problem(self, check: str, text: str, advice: str) -> Finding:
        """Return something that costs data, work or a start."""
        return Finding(self.name, check, Level.PROBLEM, text, advice)

    def refused(self, check: str, error: StoreRefused) -> Finding:
        """Return that a fabric cannot be opened, for the reason that a server would give."""
        text, _, advice = str(error).partition("; ")
        return self.problem(check, text, advice or "name another place")


def worst(findings: Iterable[Finding]) -> Level:
    """Return the worst level among `findings`; OK for none."""
    order: Sequence[Level] = list(Level)
    return max((each.level for each in findings), key=order.index, default=Level.OK)
