"""Evidence of a small run that keeps every invariant, for tests to damage."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from demo.check.evidence import APPRENTICE, ORCHESTRATOR, SUPERVISOR, Evidence, read
from demo.check.ledger import GENESIS, link_hash
from demo.journal import journal_path
from demo.plan import BOXED, BOXED_TASK, BOXED_TEXT

BOARD = """
tasks:
  - {id: own, title: Own task, hours: 2, capabilities: [a]}
  - {id: taken, title: Taken over, hours: 1, capabilities: [b], depends: [own]}
  - {id: extra, title: Filler, hours: 1, capabilities: [a], filler: yes}
"""
FLEET = """
sessions:
  - {id: busy, runs: python, model: small, cost_per_hour: 2, capabilities: [a],
     story: {does: blocked, at_percent: 50}}
  - {id: victim, runs: python, model: small, cost_per_hour: 2, capabilities: [b],
     story: {does: killed, at_percent: 50}}
  - {id: heir, runs: typescript, model: large, cost_per_hour: 20, capabilities: [b],
     story: {does: help, at_percent: 25}}
  - {id: stuck, runs: python, model: small, cost_per_hour: 2, capabilities: [c],
     story: {does: helped, task: hard, at_percent: 50, budget: 5}}
"""


@dataclass
class Case:
    """Journals and log of a run, as lists of JSON objects that a test may change."""

    journals: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    log: list[dict[str, Any]] = field(default_factory=list)

    def write(self, folder: Path) -> None:
        """Write the run's folder; the log is sealed as it is then."""
        (folder / "journals").mkdir()
        (folder / "board.yaml").write_text(BOARD)
        (folder / "fleet.yaml").write_text(FLEET)
        for writer, records in self.journals.items():
            _write_lines(journal_path(folder, writer), records)
        sealed = seal(self.log)
        _write_lines(folder / "witness.jsonl", sealed)
        head = {"sequence": sealed[-1]["sequence"], "hash": sealed[-1]["hash"]}
        (folder / "run.json").write_text(json.dumps({"witness_head": head, "second_per_hour": 1}))

    def evidence(self, folder: Path) -> Evidence:
        """Write the run's folder and read it as the judge does."""
        self.write(folder)
        return read(folder)


def seal(log: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the entries as an export has them, linked by their hashes."""
    sealed: list[dict[str, Any]] = []
    previous = GENESIS
    for sequence, content in enumerate(log, start=1):
        body = json.dumps(content | {"sequence": sequence}, sort_keys=True, separators=(",", ":"))
        link = link_hash(previous, body)
        sealed.append(
            {"sequence": sequence, "operation": content["operation"], "body": body}
            | {"previous_hash": previous, "hash": link}
        )
        previous = link
    return sealed


def entry(operation: str, swarm_id: str, task_id: str = "", attempt: int = 0) -> dict[str, Any]:
    """Return a decision as the body of an entry tells it."""
    return {
        "decide_time": "2026-01-31T12:00:00.000000Z",
        "component": "coordinator",
        "operation": operation,
        "swarm_id": swarm_id,
        "task_id": task_id,
        "attempt": attempt,
        "details": {},
    }


def helped(helper: str, micros: int) -> dict[str, Any]:
    """Return the decision that charges a helper's cost to who asked."""
    details = {"help_id": "h1", "helper_swarm_id": helper, "cost_micros": micros}
    return entry("cost_tracked", "stuck", "hard", 1) | {"details": details}


def record(event: str, task_id: str = "", attempt: int = 0, **fields: object) -> dict[str, Any]:
    """Return a line of a journal."""
    return {"time": 1769860800.005, "event": event, "task_id": task_id, "attempt": attempt} | fields


def good_case() -> Case:
    """Return a run in which everything happened that the story wants."""
    return Case(journals=_of_the_story() | _of_the_others(), log=_log())


def _of_the_story() -> dict[str, list[dict[str, Any]]]:
    """Return the journals of the sessions that the fleet names."""
    return {
        "busy": [
            record("opened"),
            record("received", "own", 1),
            record("claimed", "own", 1, seconds=0.004),
            record("progress", "own", 1, percent=50),
            record("blocked", "own", 1),
            record("received", "extra", 1),
            record("unblocked", "own", 1),
            record("completed", "extra", 1),
            record("completed", "own", 1),
            record("helps", "hard", 1, help_id="h1"),
            record("helped", "hard", 1, help_id="h1", cost_micros=1_000_000),
        ],
        "victim": [
            record("opened"),
            record("received", "taken", 1),
            record("refused", "taken", 1, reason="ERROR_REASON_STALE_ATTEMPT"),
            record("opened"),
        ],
        # As the TypeScript command line tells it.
        "heir": [
            {"event": "connected", "swarm_id": "heir", "epoch": "7", "resumed": False},
            {"event": "task", "task": {"task_id": "taken", "attempt": "2"}},
            {"event": "progress", "task_id": "taken", "percent": 25},
            record("help", "taken", 2, helpers=["busy"]),
            {"event": "completed", "task_id": "taken", "attempt": "2", "reason": ""},
            record("helps", "hard", 1, help_id="h1"),
            record("helped", "hard", 1, help_id="h1", cost_micros=3_000_000),
        ],
        "stuck": [
            record("opened"),
            record("received", "hard", 1),
            record("blocked", "hard", 1),
            record("asked", "hard", 1, help_id="h1"),
            record("unblocked", "hard", 1),
            record("completed", "hard", 1),
        ],
    }


def _of_the_others() -> dict[str, list[dict[str, Any]]]:
    """Return the journals of the supervisor, the apprentice and the orchestrator."""
    return {
        SUPERVISOR: [
            record("killed", "taken", 1, victim="victim", pid=17),
            record("approved", approver="Ada", reason="it learned"),
            record("counted", BOXED_TASK, 1, words=len(BOXED_TEXT.split())),
        ],
        APPRENTICE: [
            record("received", "trial", 1),
            record("failed", "trial", 1, cost_micros=3_000_000),
            record("turned_away", "again", refusal="CLAIM_REFUSAL_BREAKER_OPEN"),
            record("received", "again", 1),
            record("completed", "again", 1, cost_micros=2_000_000),
            record(
                *("turned_away", "more"),
                refusal="CLAIM_REFUSAL_BUDGET",
                max_cost_micros=2_000_000,
            ),
        ],
        ORCHESTRATOR: [
            record("opened"),
            record("alerted", "own", 1),
            record("alerted", "hard", 1),
        ],
    }


def _log() -> list[dict[str, Any]]:
    return [
        entry("task_assigned", "busy", "own", 1),
        entry("blocker_reported", "busy", "own", 1),
        entry("task_assigned", "busy", "extra", 1),
        entry("blocker_resolved", "busy", "own", 1),
        entry("task_completed", "busy", "extra", 1),
        entry("progress_reported", "busy", "own", 1),
        entry("task_completed", "busy", "own", 1),
        entry("task_assigned", "victim", "taken", 1),
        entry("claim_taken_back", "victim", "taken", 1),
        entry("claim_won", "heir", "taken", 2),
        entry("message_fenced", "victim", "taken") | {"details": {"count": 2}},
        entry("task_completed", "heir", "taken", 2) | {"details": {"cost_micros": 2_000_000}},
        entry("claim_won", APPRENTICE, "trial", 1),
        entry("task_failed", APPRENTICE, "trial", 1),
        entry("breaker_opened", APPRENTICE) | {"details": {"cause": "failures"}},
        entry("breaker_reset", APPRENTICE)
        | {
            "details": {
                "approver": "Ada",
                "reason": "it learned",
                "new_budget_micros": 6_000_000,
            }
        },
        entry("claim_won", APPRENTICE, "again", 1),
        entry("task_completed", APPRENTICE, "again", 1),
        entry("task_assigned", "stuck", "hard", 1),
        entry("blocker_reported", "stuck", "hard", 1),
        entry("help_requested", "stuck", "hard", 1)
        | {"details": {"help_id": "h1", "max_helpers": 3, "budget_micros": 5_000_000}},
        entry("help_accepted", "busy", "hard", 1) | {"details": {"help_id": "h1"}},
        entry("help_accepted", "heir", "hard", 1) | {"details": {"help_id": "h1"}},
        helped("busy", 1_000_000),
        helped("heir", 3_000_000),
        entry("blocker_resolved", "stuck", "hard", 1),
        entry("help_ended", "stuck", "hard", 1) | {"details": {"help_id": "h1"}},
        entry("swarm_loaded", BOXED),
        entry("claim_won", BOXED, BOXED_TASK, 1),
        entry("task_executed", BOXED, BOXED_TASK, 1) | {"details": {"succeeded": True}},
        entry("task_completed", BOXED, BOXED_TASK, 1),
        entry("task_completed", "stuck", "hard", 1),
    ]


def without(items: Iterable[dict[str, Any]], **fields: object) -> list[dict[str, Any]]:
    """Return the items but for those in which all these fields are so."""
    return [item for item in items if any(item.get(name) != fields[name] for name in fields)]


def _write_lines(path: Path, lines: Iterable[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
