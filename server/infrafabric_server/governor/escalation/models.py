"""Escalations as they are stored, what causes them, and what is to be delivered."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from infrafabric_server.limits import MAX_TEXT, Text

MAX_LEVEL = 3

_FROZEN = ConfigDict(frozen=True)


def _cut(text: str) -> str:
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"


Summary = Annotated[str, BeforeValidator(_cut)]
Level = Annotated[int, Field(ge=1, le=MAX_LEVEL)]


class Kind(StrEnum):
    """What an escalation is about."""

    BREAKER = "breaker"
    HOLD = "hold"
    BLOCKER = "blocker"
    HELP = "help"
    POLICY = "policy"
    BUDGET = "budget"


class State(StrEnum):
    """How an escalation stands."""

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    CLOSED = "closed"


class Operation(StrEnum):
    """What happened to an escalation, by the name of its witness entry."""

    OPENED = "escalation_opened"
    UPDATED = "escalation_updated"
    RAISED = "escalation_raised"
    ACKNOWLEDGED = "escalation_acknowledged"
    CLOSED = "escalation_closed"
    UNDELIVERED = "escalation_undelivered"


class Cause(BaseModel):
    """A condition that lasts and needs a person.

    `subject` tells it from others of its kind; `since` tells it from an earlier one of the same
    subject. `until` is when it may be over without a further change; None: it does not say.
    """

    model_config = _FROZEN

    kind: Kind
    subject: str
    since: datetime
    summary: Summary
    swarm_id: str = ""
    task_id: str = ""
    until: datetime | None = None

    @property
    def escalation_id(self) -> str:
        """The id of its escalation."""
        return f"{self.kind}:{self.subject}"


class Escalation(BaseModel):
    """One incident; stored under `escalations/<kind>:<subject>`.

    `since` is that of its cause, `raise_time` when it came to its level. `updates` counts its
    changes, over all incidents of the same subject: what has more of them is newer.
    """

    model_config = _FROZEN

    escalation_id: str
    kind: Kind
    swarm_id: str = ""
    task_id: str = ""
    summary: Summary
    since: datetime
    level: Level = 1
    updates: int = 0
    create_time: datetime
    update_time: datetime
    raise_time: datetime
    acknowledged_by: str = ""
    acknowledgement: Text = ""
    close_time: datetime | None = None
    dead_letters: tuple[str, ...] = ()

    @property
    def state(self) -> State:
        """How it stands."""
        if self.close_time is not None:
            return State.CLOSED
        return State.ACKNOWLEDGED if self.acknowledged_by else State.OPEN


class Delivery(BaseModel):
    """What a webhook is still to be told; stored under `deliveries/<hook>/<entry id>`.

    The id is that of the change's witness entry. `tries` were made in vain; `due_time` is when
    the next is made.
    """

    model_config = _FROZEN

    hook: str
    entry_id: str
    operation: Operation
    escalation: Escalation
    create_time: datetime
    due_time: datetime
    tries: int = 0

    @property
    def delivery_id(self) -> str:
        """The id that the webhook is told, the same at every try."""
        return f"{self.hook}/{self.entry_id}"


class Broken(BaseModel):
    """A rule of the policy that kept tasks from swarms; stored under `violations/<rule>`.

    `since` is when it began, `time` the last time that was noted. It is over when a while has
    passed without another.
    """

    model_config = _FROZEN

    rule: str
    swarm_id: str
    task_id: str
    detail: Summary
    policy_hash: str
    since: datetime
    time: datetime
