"""What a run left behind, read from its folder."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from demo.journal import read_lines
from demo.plan import Board, Fleet

SUPERVISOR = "supervisor"
ORCHESTRATOR = "orchestrator"
APPRENTICE = "apprentice"

# The TypeScript command line tells its events under names of its own.
_FOREIGN_EVENTS = {"connected": "opened", "task": "received"}

# What a session writes only about a claim that it believes to hold.
_HOLDING = frozenset(("received", "claimed", "progress", "blocked", "completed"))

# Decisions that give a task to a swarm, each under an attempt of its own.
_GRANTS = frozenset(("claim_won", "task_assigned", "claim_taken_over"))


class EvidenceError(Exception):
    """The folder of the run cannot be read; the message names the file and what is wrong."""


@dataclass(frozen=True, slots=True)
class Record:
    """One line of a journal; `time` is in seconds since 1970, None when the writer told none."""

    event: str
    swarm_id: str
    task_id: str = ""
    attempt: int = 0
    time: float | None = None
    fields: dict[str, Any] = field(default_factory=dict)

    @property
    def claim(self) -> tuple[str, int]:
        """The task and the attempt that it is about."""
        return self.task_id, self.attempt


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the exported witness log, as its body tells it."""

    sequence: int
    time: float
    operation: str
    swarm_id: str
    task_id: str
    attempt: int
    details: dict[str, Any]
    body: str
    previous_hash: str
    hash: str

    @property
    def claim(self) -> tuple[str, int]:
        """The task and the attempt that it is about."""
        return self.task_id, self.attempt


@dataclass(frozen=True, slots=True)
class Head:
    """The last entry of the server's own log, noted when it was verified before the export."""

    sequence: int
    hash: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that the checks look at.

    `journals` has the records of each writer in the order in which they were written,
    `log` the witness entries in theirs. `second_per_hour` is the scale of the simulated work.
    """

    board: Board
    fleet: Fleet
    journals: dict[str, list[Record]]
    log: list[Entry]
    head: Head
    second_per_hour: float

    def records(self, *events: str) -> Iterator[Record]:
        """Iterate over the records of these events in all journals."""
        for journal in self.journals.values():
            yield from (record for record in journal if record.event in events)

    def journal(self, writer: str) -> list[Record]:
        """Return the records of one writer; none when it left no journal."""
        return self.journals.get(writer, [])

    def entries(self, *operations: str) -> Iterator[Entry]:
        """Iterate over the log's entries of these operations."""
        return (entry for entry in self.log if entry.operation in operations)

    def grants(self) -> Iterator[Entry]:
        """Iterate over the entries that gave a task to a swarm."""
        return self.entries(*_GRANTS)

    def holdings(self) -> Iterator[Record]:
        """Iterate over the records that a session wrote about a claim it believed to hold."""
        return self.records(*_HOLDING)


def read(folder: Path) -> Evidence:
    """Read the evidence of a run; raises EvidenceError."""
    try:
        run = json.loads((folder / "run.json").read_text())
        return Evidence(
            board=Board.read(folder / "board.yaml"),
            fleet=Fleet.read(folder / "fleet.yaml"),
            journals={
                path.stem: list(_records(path.stem, path))
                for path in sorted((folder / "journals").glob("*.jsonl"))
            },
            log=[_entry(line) for line in read_lines(folder / "witness.jsonl")],
            head=Head(**run["witness_head"]),
            second_per_hour=run["second_per_hour"],
        )
    except OSError as error:
        raise EvidenceError(f"{error.filename}: {error.strerror}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise EvidenceError(f"{folder}: not the evidence of a run: {error}") from error


def _records(writer: str, path: Path) -> Iterator[Record]:
    for fields in read_lines(path):
        about = {**fields, **fields.get("task", {})}
        event = str(fields["event"])
        yield Record(
            event=_FOREIGN_EVENTS.get(event, event),
            swarm_id=str(about.get("swarm_id", writer)),
            task_id=str(about.get("task_id", "")),
            attempt=int(about.get("attempt", 0)),
            time=fields.get("time"),
            fields=fields,
        )


def _entry(line: dict[str, Any]) -> Entry:
    """Return an entry as its hashed body tells it; what else the line says does not count."""
    body = line["body"]
    try:
        content = json.loads(body)
        time = datetime.fromisoformat(content["decide_time"]).timestamp()
    except (KeyError, ValueError):
        # A damaged body is for the check of the chain to find, not for the reader.
        content, time = {}, 0.0
    return Entry(
        sequence=int(line["sequence"]),
        time=time,
        operation=content.get("operation", ""),
        swarm_id=content.get("swarm_id", ""),
        task_id=content.get("task_id", ""),
        attempt=content.get("attempt", 0),
        details=content.get("details", {}),
        body=body,
        previous_hash=line["previous_hash"],
        hash=line["hash"],
    )
