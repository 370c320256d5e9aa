"""Decisions on their way into the log, and as the log keeps them."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue

# The largest whole number of a column of the log.
MAX_ATTEMPT = 2**63 - 1


class Draft(BaseModel):
    """A decision that waits to be sealed; stored under `outbox/<entry_id>`.

    `details` is what else belongs to the decision, as JSON; money in it is a whole number
    of micro-US-dollars.
    """

    model_config = ConfigDict(frozen=True)

    time: datetime
    component: str
    operation: str
    swarm_id: str = ""
    task_id: str = ""
    attempt: int = Field(default=0, le=MAX_ATTEMPT)
    details: dict[str, JsonValue] = {}


class Sealed(BaseModel):
    """How far the log goes: the sequence and hash of an entry that is in it, with all before."""

    model_config = ConfigDict(frozen=True)

    sequence: int = Field(ge=1)
    hash: str


@dataclass(frozen=True, slots=True)
class Entry:
    """A sealed decision: one link of the chain.

    `sequence` counts from 1 without holes, `revision` is that of the store transaction
    that decided. `hash` covers `previous_hash` and `body`; `body` is the canonical JSON
    text of all that comes before it here, and of the details.
    """

    sequence: int
    entry_id: str
    decide_time: datetime
    component: str
    operation: str
    swarm_id: str
    task_id: str
    attempt: int
    revision: int
    body: str
    previous_hash: str
    hash: str

    @property
    def details(self) -> dict[str, Any]:
        """What else belongs to the decision; empty when the body was damaged."""
        try:
            details = json.loads(self.body)["details"]
        except (KeyError, TypeError, ValueError):
            return {}
        return details if isinstance(details, dict) else {}


@dataclass(frozen=True, slots=True)
class EntryFilter:
    """Which entries: those that match every field that is set.

    `after` is the first time that counts, `before` the first that does not count any more.
    """

    component: str = ""
    operation: str = ""
    swarm_id: str = ""
    task_id: str = ""
    after: datetime | None = None
    before: datetime | None = None

    def matches(self, entry: Entry) -> bool:
        """Return whether `entry` is one of them."""
        return (
            (not self.component or entry.component == self.component)
            and (not self.operation or entry.operation == self.operation)
            and (not self.swarm_id or entry.swarm_id == self.swarm_id)
            and (not self.task_id or entry.task_id == self.task_id)
            and (self.after is None or entry.decide_time >= self.after)
            and (self.before is None or entry.decide_time < self.before)
        )
