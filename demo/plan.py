"""What the demonstration is made of: the board and the fleet, read from their files."""

from enum import StrEnum
from pathlib import Path
from typing import Self

import yaml
from pydantic import BaseModel, ConfigDict

FOLDER = Path(__file__).parent
BOARD_FILE = FOLDER / "board.yaml"
FLEET_FILE = FOLDER / "fleet.yaml"
TRIAL_FILE = FOLDER / "trial.yaml"
RESCUE_FILE = FOLDER / "rescue.yaml"
MODULE_FILE = FOLDER / "words.wat"

HELPERS = 2
"""How many of the fleet know what the session needs that is helped."""

BOXED = "word-counter"
"""The swarm that is a module, and has no session."""

BOXED_TASK = "B.1"
BOXED_TEXT = "Every task is claimed by exactly one swarm, whoever asks for it."

MILESTONES = (25, 50, 75, 100)


class _Read(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    @classmethod
    def read(cls, path: Path) -> Self:
        """Return what the YAML file says; raises pydantic.ValidationError naming the fields."""
        return cls.model_validate(yaml.safe_load(path.read_text()))


class BoardTask(_Read):
    """What the demonstration has to know of a task; the product's own import reads all of it."""

    id: str
    title: str
    hours: int
    capabilities: frozenset[str]
    depends: tuple[str, ...] = ()
    filler: bool = False
    dispatch: str = "auto"


class Board(_Read):
    """The tasks, in their order on the board."""

    tasks: tuple[BoardTask, ...]

    def task(self, task_id: str) -> BoardTask:
        """Return a task; raises KeyError when the board has none of this id."""
        for task in self.tasks:
            if task.id == task_id:
                return task
        raise KeyError(task_id)


class Runs(StrEnum):
    """Which program a session is."""

    PYTHON = "python"
    TYPESCRIPT = "typescript"
    SHELL = "shell"


class Does(StrEnum):
    """What happens to a session in the course of the story."""

    KILLED = "killed"
    BLOCKED = "blocked"
    HELP = "help"
    HELPED = "helped"


class Story(_Read):
    """What happens to a session, and at which milestone.

    `task` is where; its first task that is no filler if empty. `budget` is what helpers may spend,
    in US dollars.
    """

    does: Does
    at_percent: int
    task: str = ""
    budget: int = 0
    because: str = ""
    needs: tuple[str, ...] = ()


class SessionPlan(_Read):
    """One session; `cost_per_hour` is in US dollars."""

    id: str
    runs: Runs
    model: str
    cost_per_hour: int
    capabilities: tuple[str, ...]
    story: Story | None = None


class Fleet(_Read):
    """The sessions, in the order of the file."""

    sessions: tuple[SessionPlan, ...]

    def session(self, swarm_id: str) -> SessionPlan:
        """Return a session; raises KeyError when the fleet has none of this id."""
        for session in self.sessions:
            if session.id == swarm_id:
                return session
        raise KeyError(swarm_id)

    def whose(self, does: Does) -> SessionPlan:
        """Return the session that something happens to; raises LookupError without one."""
        for session in self.sessions:
            if session.story is not None and session.story.does is does:
                return session
        raise LookupError(f"the fleet has no session that is to be {does}")
