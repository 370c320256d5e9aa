"""What the JSON API accepts, field by field."""

from decimal import Decimal
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from infrafabric_server.errors import FieldViolation, InvalidField
from infrafabric_server.fleet.models import Status
from infrafabric_server.limits import (
    MAX_MONEY_MICROS,
    MAX_TEXT,
    Capabilities,
    Identifier,
    Label,
    Text,
)
from infrafabric_server.notify.models import MAX_COUNT, StatusReport, UtcTime

_MICROS = Decimal(10**6)
_MAX_DOLLARS = Decimal(MAX_MONEY_MICROS) / _MICROS


def _micros(value: object) -> int:
    """Return US dollars as micro-dollars, halves to even: old clients add up floats."""
    dollars = Decimal(value) if type(value) is int else value
    # Compared before it is scaled: 1E+999999 has a million digits as an integer.
    if isinstance(dollars, Decimal) and dollars.is_finite() and 0 <= dollars <= _MAX_DOLLARS:
        return int((dollars * _MICROS).to_integral_value())
    raise ValueError(f"must be a number of US dollars from 0 to {_MAX_DOLLARS}")


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    raise ValueError("must be a time such as 2025-11-12T13:00:00Z")


Dollars = Annotated[int, BeforeValidator(_micros)]
Count = Annotated[int, Field(strict=True, ge=0, le=MAX_COUNT)]
Time = Annotated[UtcTime, BeforeValidator(_text)]


class StatusBody(BaseModel):
    """A status report; what is absent or null says nothing.

    `time` and `timestamp` are two names of one field; the first wins. `status` repeats
    the path and may be left out. Fields of other names are ignored.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    session_id: Identifier
    status: Label | None = None
    time: Time | None = None
    timestamp: Time | None = None
    last_task: Label | None = None
    capabilities: Capabilities = frozenset()
    cost_spent: Dollars = 0
    tasks_completed: Count = 0
    waiting_since: Time | None = None
    message: Text = ""
    needs: Capabilities = frozenset()

    def report(self, status: Status) -> StatusReport:
        """Return the report of `status`, which is the word of the path.

        Raises:
            InvalidField: the body names another status.
        """
        if self.status not in (None, status.value):
            raise InvalidField(
                FieldViolation("status", f"must be {status.value}, as in the path, or absent")
            )
        return StatusReport(
            swarm_id=self.session_id,
            status=status,
            last_task=self.last_task or None,
            message=self.message,
            capabilities=self.capabilities,
            needs=self.needs,
            cost_spent_micros=self.cost_spent,
            tasks_completed=self.tasks_completed,
            time=self.time or self.timestamp,
            waiting_since=self.waiting_since,
        )


class TaskBody(BaseModel):
    """The task of an assignment; every field of another name is input for the worker."""

    model_config = ConfigDict(frozen=True, extra="allow")

    id: Identifier
    title: Label | None = None


class AssignBody(BaseModel):
    """A task for one swarm."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    session_id: Identifier
    task: TaskBody


class BroadcastBody(BaseModel):
    """A text for everyone; a repeat with the same `request_id` sends nothing twice."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    message: Annotated[str, Field(min_length=1, max_length=MAX_TEXT)]
    request_id: Identifier | None = None
