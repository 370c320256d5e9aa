"""All that the checks look at, read from the folder of a run."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.robustness.history import Observation, Operation, read_history

HISTORY = "history.jsonl"
STATE = "state.json"

# What is sent to everyone when all is finished: every watcher and every log must have it.
LAST_TEXT = "the-last-text"

# How the reasons begin of attempts that failed because of the swarm's provider.
PROVIDERS = "provider-"

# The operation of a cost that a swarm's total told by its rise, in a status.
REPORTED = "reported"

# The account of the whole fabric.
FABRIC = "fabric"

# What the claim of a task without a cost of its own reserves, by `setups/policy.yaml`.
DEFAULT_COST = 300_000

# Decisions that give a task to a swarm, each under an attempt of its own.
GRANTS = frozenset(("claim_won", "task_assigned", "claim_taken_over"))


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the witness log, as its body tells it.

    `revision` is the store's at which it was decided: the cursor of a watch that shows it.
    `decide_time` is the time of day then, as a server took it to be.
    """

    sequence: int
    operation: str
    body: str
    previous_hash: str
    hash: str
    entry_id: str = ""
    revision: int = 0
    swarm_id: str = ""
    task_id: str = ""
    attempt: int = 0
    details: dict[str, Any] = field(default_factory=dict)
    decide_time: str = ""

    @property
    def grants(self) -> bool:
        """Whether it gives the task to the swarm."""
        return self.operation in GRANTS


@dataclass(frozen=True, slots=True)
class FinalTask:
    """A task as the fabric showed it when all was over."""

    task_id: str
    state: str
    owner: str = ""
    attempt: int = 0
    milestone: int = 0
    failures: int = 0
    cost_micros: int = 0
    parked: bool = False
    reason: str = ""
    result: str = ""
    dependencies: tuple[str, ...] = ()
    max_cost_micros: int | None = None


@dataclass(frozen=True, slots=True)
class FinalAccount:
    """How an account stood when all was over."""

    total: int
    reserved: int
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class FinalStatus:
    """What the fabric knew of a swarm when all was over."""

    swarm_id: str
    status: str
    tasks_completed: int = 0
    cost_micros: int = 0
    message: str = ""


@dataclass(slots=True)
class Evidence:
    """A history and what the fabric was like after it.

    Attributes:
        operations: what the clients asked for, in the order of the invocations.
        observations: what they saw, and what was done to the servers.
        logs: the witness log, as each server exports it.
        tasks: every task.
        statuses: every swarm's status.
        blockers: swarm and task of each open blocker.
        accounts: by `swarm/<id>`, and that of the fabric.
        reported: what the report of costs says that each account has spent.
        open_breakers: swarms whose breaker is open; "" for the hold.
        help: every request for help, and whether it has ended.
        escalations: state and level of each.
    """

    operations: list[Operation]
    observations: list[Observation]
    logs: dict[str, list[Entry]]
    tasks: dict[str, FinalTask]
    statuses: dict[str, FinalStatus]
    blockers: set[tuple[str, str]]
    accounts: dict[str, FinalAccount] = field(default_factory=dict)
    reported: dict[str, int] = field(default_factory=dict)
    open_breakers: set[str] = field(default_factory=set)
    help: dict[str, bool] = field(default_factory=dict)
    escalations: dict[str, tuple[str, int]] = field(default_factory=dict)

    @property
    def log(self) -> list[Entry]:
        """The witness log of the first server; empty when none could be asked."""
        return next(iter(self.logs.values()), [])

    def of_kind(self, *kinds: str) -> Iterator[Operation]:
        """Iterate over the operations of these kinds."""
        return (operation for operation in self.operations if operation.kind in kinds)

    def seen(self, *kinds: str) -> Iterator[Observation]:
        """Iterate over the observations of these kinds."""
        return (each for each in self.observations if each.kind in kinds)

    def entries(self, *operations: str) -> Iterator[Entry]:
        """Iterate over the log's entries of these operations."""
        return (entry for entry in self.log if entry.operation in operations)


def read_log(lines: Iterable[str]) -> list[Entry]:
    """Return the entries of an exported log."""
    return [_entry(json.loads(line)) for line in lines]


def _entry(line: dict[str, Any]) -> Entry:
    content = json.loads(line["body"])
    return Entry(
        sequence=int(line["sequence"]),
        operation=content.get("operation", ""),
        body=line["body"],
        previous_hash=line["previous_hash"],
        hash=line["hash"],
        entry_id=content.get("entry_id", ""),
        revision=int(content.get("revision", 0)),
        swarm_id=content.get("swarm_id", ""),
        task_id=content.get("task_id", ""),
        attempt=int(content.get("attempt", 0)),
        details=content.get("details", {}),
        decide_time=content.get("decide_time", ""),
    )


def log_name(server: str) -> str:
    """Return the name of the file with the exported log of a server."""
    return f"witness-{server}.jsonl"


def read(folder: Path) -> Evidence:
    """Read what a run left behind."""
    with (folder / HISTORY).open() as lines:
        operations, observations = read_history(lines)
    state = json.loads((folder / STATE).read_text())
    return Evidence(
        operations=operations,
        observations=observations,
        logs={
            server: read_log((folder / log_name(server)).read_text().splitlines())
            for server in state["servers"]
        },
        tasks={
            task["task_id"]: FinalTask(**{**task, "dependencies": tuple(task["dependencies"])})
            for task in state["tasks"]
        },
        statuses={each["swarm_id"]: FinalStatus(**each) for each in state["statuses"]},
        blockers={(swarm_id, task_id) for swarm_id, task_id in state["blockers"]},
        accounts={name: FinalAccount(**each) for name, each in state["accounts"].items()},
        reported=state["reported"],
        open_breakers={*state["open_breakers"]},
        help=state["help"],
        escalations={
            name: (str(how), int(level)) for name, (how, level) in state["escalations"].items()
        },
    )
