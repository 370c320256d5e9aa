"""What was spent on what, as it really was; the fabric's ledger is compared with it."""

from collections import defaultdict
from dataclasses import dataclass, field
from enum import StrEnum

from tests.benchmarks.economics.attempts import Course, Ending
from tests.benchmarks.economics.world import HOUR, Job, Kind, Swarm


class Fate(StrEnum):
    """What became of the money of an attempt."""

    USEFUL = "useful"
    UNFIT = "unfit"
    FAILED = "failed"
    REPEATED = "repeated"
    FENCED = "fenced"


class Stop(StrEnum):
    """Why an attempt ended before its time: given back by its swarm, or taken from it."""

    RELEASED = "released"
    TAKEN = "taken"


@dataclass(slots=True)
class Spell:
    """One attempt as it went; money in micro-US-dollars, times in seconds."""

    job_id: str
    task_id: str
    attempt: int
    swarm: Swarm
    course: Course
    begin: float
    end: float = 0.0
    micros: int = 0
    stop: Stop | None = None

    @property
    def sound(self) -> bool:
        """Whether the work is done."""
        return self.stop is None and self.course.ending is Ending.SOUND

    @property
    def fate(self) -> Fate:
        """What became of its money: of an unfit swarm's, unless it succeeded, just that."""
        if self.sound:
            return Fate.USEFUL
        if self.course.unfit:
            return Fate.UNFIT
        if self.stop is Stop.TAKEN:
            return Fate.FENCED
        again = self.stop is Stop.RELEASED or self.course.ending is Ending.WRONG
        return Fate.REPEATED if again else Fate.FAILED


@dataclass(slots=True)
class Books:
    """All attempts of a day, and when each job was really done."""

    jobs: dict[str, Job]
    spells: list[Spell] = field(default_factory=list)
    done: dict[str, float] = field(default_factory=dict)
    _attempts: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))

    def number(self, job_id: str) -> int:
        """Return how many attempts at a job there were, and count one more."""
        self._attempts[job_id] += 1
        return self._attempts[job_id] - 1

    def finished(self, spell: Spell) -> None:
        """Note that a job is done."""
        self.done.setdefault(spell.job_id, spell.end)

    def money(self) -> dict[Fate, int]:
        """Return the money by what became of it."""
        sums = dict.fromkeys(Fate, 0)
        for spell in self.spells:
            sums[spell.fate] += spell.micros
        return sums

    def on_rogues(self) -> int:
        """Return what swarms spent that are not honest."""
        return sum(s.micros for s in self.spells if s.swarm.kind is not Kind.HONEST)

    def waits(self) -> list[float]:
        """Return how long each job took that was done, from its arrival, in hours, sorted."""
        return sorted((at - self.jobs[job].arrival) / HOUR for job, at in self.done.items())

    def busy_hours(self, until: float) -> float:
        """Return how long swarms worked before a time in seconds, all together."""
        return sum(min(s.end, until) - min(s.begin, until) for s in self.spells) / HOUR
