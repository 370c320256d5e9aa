"""Who is there: swarms, their sessions, and what they say they are doing."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from infrafabric_server.limits import (
    MAX_MODEL,
    MAX_MONEY_MICROS,
    MAX_SLOTS,
    Capabilities,
    Identifier,
    Label,
    Text,
)


class SwarmProfile(BaseModel):
    """A swarm as it is registered; stored under `swarms/<swarm_id>`."""

    model_config = ConfigDict(frozen=True)

    swarm_id: Identifier
    capabilities: Capabilities = frozenset()
    cost_per_hour_micros: Annotated[int, Field(ge=0, le=MAX_MONEY_MICROS)] = 0
    model: Annotated[str, Field(max_length=MAX_MODEL)] = ""
    max_concurrent_tasks: Annotated[int, Field(ge=1, le=MAX_SLOTS)] = 1
    credential_pool: Identifier | Literal[""] = ""
    create_time: datetime
    update_time: datetime


class FormerSwarm(BaseModel):
    """A swarm that was deregistered, and not registered since; stored under `former/<swarm_id>`."""

    model_config = ConfigDict(frozen=True)

    leave_time: datetime


class SessionRole(StrEnum):
    """What a session is here for."""

    WORKER = "worker"
    ORCHESTRATOR = "orchestrator"


class SessionRecord(BaseModel):
    """An open session; stored under `sessions/<swarm_id>`, bound to the session's lease.

    The epoch of a session is the revision that wrote its record: it rises by itself and
    is what every transaction of the session compares. Only the hash of the token is kept.
    """

    model_config = ConfigDict(frozen=True)

    swarm_id: Identifier
    role: SessionRole
    replica: str
    resume_token_hash: str
    open_time: datetime


class Status(StrEnum):
    """What a swarm is doing, in one word."""

    IDLE = "idle"
    BUSY = "busy"
    BLOCKED = "blocked"
    COMPLETED = "completed"
    HELP = "help"


class AgentStatus(BaseModel):
    """What is known of a swarm's status; stored under `statuses/<swarm_id>`.

    Of a swarm that was deregistered the totals stay for a day, under `departed/<swarm_id>`, for its
    process may go on and report them again. `status_time` is when it went, then.

    `declared` tells that the swarm said so of itself and not because of a task that it
    holds: a swarm that declares itself busy, blocked or in need of help is given no work.
    `reported_*` are the last running totals of the client process, from which the rise is
    computed; `unreported_*` is what completions added since and that total may still come
    to include. The totals include every completion up to `counted_revision`, and those in
    `counted`, which has the revision of each by its task.
    `waiting_since` is set while the swarm is idle and reachable; `connected` tells whether
    the status takes account of an open session. `blocked_task` is the free text that a
    blocker without a task id is about.
    """

    model_config = ConfigDict(frozen=True)

    swarm_id: Identifier
    status: Status
    status_time: datetime
    declared: bool = False
    last_task: Label | None = None
    message: Text = ""
    cost_spent_micros: int = 0
    tasks_completed: int = 0
    waiting_since: datetime | None = None
    connected: bool = False
    blocked_task: Label | None = None
    reported_cost_micros: int = 0
    reported_tasks: int = 0
    unreported_cost_micros: int = 0
    unreported_tasks: int = 0
    counted_revision: int = 0
    counted: dict[str, int] = Field(default_factory=dict)


class Broadcast(BaseModel):
    """A text for everyone; stored under `broadcasts/<id>` for ten minutes."""

    model_config = ConfigDict(frozen=True)

    message: Annotated[str, Field(min_length=1, max_length=4096)]
    send_time: datetime
