"""Histories of a fabric without faults in it: what the checks must find nothing in.

The fabric is a few dictionaries. It is told by chance what its clients ask, which requests
they never hear of again, and which are repeated.
"""

import json
import random
from dataclasses import dataclass, field, replace
from typing import Any

from infrafabric_server.witness.chain import GENESIS, canonical, link_hash
from tests.robustness.evidence import Entry, Evidence, FinalStatus, FinalTask
from tests.robustness.history import Observation, Operation, Outcome

SLOTS = {"ada": 1, "bob": 2}
LIVE = ("BLOCKED", "AVAILABLE", "CLAIMED")


@dataclass(slots=True)
class Work:
    """A task of the ideal fabric."""

    task_id: str
    waits_for: tuple[str, ...]
    state: str = "AVAILABLE"
    attempt: int = 0
    owner: str = ""
    parked: bool = False
    milestone: int = 0
    failures: int = 0
    cost: int = 0
    max_cost: int | None = None

    @property
    def shown_owner(self) -> str:
        """Who is shown as the owner."""
        return "" if self.state in ("BLOCKED", "AVAILABLE") else self.owner


@dataclass(slots=True)
class IdealFabric:
    """Does what it is asked, and keeps the evidence of it."""

    chance: random.Random
    tasks: dict[str, Work] = field(default_factory=dict)
    blockers: set[tuple[str, str]] = field(default_factory=set)
    operations: list[Operation] = field(default_factory=list)
    observations: list[Observation] = field(default_factory=list)
    log: list[Entry] = field(default_factory=list)
    now: float = 0.0
    revision: int = 0

    def begin(self) -> None:
        """Let the swarms join and the watchers begin."""
        for client in ("watcher-0", "watcher-1"):
            self.see(client, "task-snapshot-end", cursor="0")
            self.see(client, "status-snapshot-end", cursor="0")
        for swarm_id, slots in SLOTS.items():
            details = {"max_concurrent_tasks": slots}
            self.decide("swarm_registered", swarm_id=swarm_id, details=details)

    def tick(self) -> float:
        """Return the next moment."""
        self.now += 1.0
        return self.now

    def see(self, client: str, kind: str, **fields: Any) -> None:
        """Let a client see something."""
        self.observations.append(Observation(client, kind, self.tick(), fields))

    def decide(self, operation: str, work: Work | None = None, **fields: Any) -> None:
        """Write one decision and tell the watchers of it."""
        self.revision += self.chance.randint(1, 3)
        self.enter(operation, work, **fields)
        if work is not None:
            self.tell(work)

    def enter(self, operation: str, work: Work | None = None, **fields: Any) -> None:
        """Add an entry to the log under the present revision."""
        entry = Entry(len(self.log) + 1, operation, "", "", "", f"e{len(self.log)}", self.revision)
        if work is not None:
            fields = {"task_id": work.task_id, "attempt": work.attempt, **fields}
        self.log.append(replace(entry, **fields))

    def tell(self, work: Work) -> None:
        """Tell the watchers what a task is like now."""
        for client in ("watcher-0", "watcher-1"):
            self.see(client, "task-changed", cursor=str(self.revision), **shown(work))

    def request(
        self, kind: str, tag: object, outcome: Outcome, reason: str = "", **fields: Any
    ) -> Operation:
        """Note what a client asked; it is answered when `answer` says so."""
        answer = fields.pop("answer", {})
        invoked = self.tick()
        number = len(self.operations) + 1
        operation = Operation(number, "client", kind, str(tag), invoked, fields)
        operation.outcome, operation.reason, operation.answer = outcome, reason, answer
        if outcome is not Outcome.UNKNOWN:
            operation.returned = self.now + 0.5
        self.operations.append(operation)
        return operation

    def working(self, swarm_id: str) -> int:
        """Return how many tasks a swarm works on."""
        return sum(
            work.owner == swarm_id and work.state == "CLAIMED" and not work.parked
            for work in self.tasks.values()
        )

    def open_dependencies(self, work: Work) -> list[str]:
        """Return what a task still waits for."""
        return [name for name in work.waits_for if self.tasks[name].state != "COMPLETED"]

    def evidence(self) -> Evidence:
        """Return all that there is to see of it."""
        counted = {swarm_id: [0, 0] for swarm_id in SLOTS}
        for entry in self.log:
            if entry.operation == "task_completed":
                counted[entry.swarm_id][0] += 1
                counted[entry.swarm_id][1] += int(entry.details["cost_micros"])
        log = sealed(self.log)
        for entry in log:
            self.see("tail", "tail", sequence=entry.sequence, hash=entry.hash)
        return Evidence(
            operations=self.operations,
            observations=self.observations,
            logs={"server-0": log, "server-1": list(log)},
            tasks={work.task_id: _final(work) for work in self.tasks.values()},
            statuses={
                swarm_id: FinalStatus(swarm_id, "IDLE", done, cost)
                for swarm_id, (done, cost) in counted.items()
            },
            blockers=set(self.blockers),
        )


def shown(work: Work) -> dict[str, Any]:
    """Return a task as a client sees it."""
    return {
        "task_id": work.task_id,
        "state": work.state,
        "attempt": work.attempt,
        "owner": work.shown_owner,
        "parked": work.parked,
        "milestone": work.milestone,
    }


def sealed(log: list[Entry]) -> list[Entry]:
    """Return the entries as one chain, in their order."""
    previous, found = GENESIS, []
    for sequence, entry in enumerate(log, start=1):
        body = canonical(
            {
                "sequence": sequence,
                "entry_id": entry.entry_id,
                "operation": entry.operation,
                "swarm_id": entry.swarm_id,
                "task_id": entry.task_id,
                "attempt": entry.attempt,
                "revision": entry.revision,
                "details": entry.details,
            }
        )
        digest = link_hash(previous, body)
        found.append(
            replace(entry, sequence=sequence, body=body, previous_hash=previous, hash=digest)
        )
        previous = digest
    return found


def exported(log: list[Entry]) -> list[str]:
    """Return a chain as the lines of an export."""
    return [
        json.dumps(
            {
                "sequence": entry.sequence,
                "body": entry.body,
                "previous_hash": entry.previous_hash,
                "hash": entry.hash,
            }
        )
        for entry in log
    ]


def _final(work: Work) -> FinalTask:
    return FinalTask(
        task_id=work.task_id,
        state=work.state,
        owner=work.shown_owner,
        attempt=work.attempt,
        milestone=work.milestone,
        failures=work.failures,
        cost_micros=work.cost,
        parked=work.parked,
        dependencies=work.waits_for,
        max_cost_micros=work.max_cost,
    )
