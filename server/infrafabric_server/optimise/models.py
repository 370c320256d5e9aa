"""Costs and accounts, as they are stored."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from infrafabric_server.limits import MAX_MODEL, MAX_MONEY_MICROS, Capability, Identifier

_FROZEN = ConfigDict(frozen=True)

Money = Annotated[int, Field(ge=0, le=MAX_MONEY_MICROS)]

FABRIC = "fabric"
"""The account of the whole fabric."""


def swarm_account(swarm_id: str) -> str:
    """Return the name of a swarm's account."""
    return f"swarm/{swarm_id}"


class Waste(StrEnum):
    """Why what an attempt spent was spent in vain."""

    FAILED = "failed"
    REPEATED = "repeated"
    FENCED = "fenced"


class Cost(BaseModel):
    """One cost; stored under `ledger/<id>` until the leader has added it up.

    It is written in the transaction of what it paid for. With `charge` it is money that was not
    counted before; without, it says of money that earlier entries charged that it was wasted.
    `cheapest_micros` is what the same would have cost on the cheapest qualified swarm. `payer` is
    the replica out of whose allotment of the fabric's limit it is taken, "" when out of none.
    """

    model_config = _FROZEN

    swarm_id: Identifier
    operation: Capability
    micros: Money
    time: datetime
    task_id: Identifier | Literal[""] = ""
    attempt: Annotated[int, Field(ge=0)] = 0
    model: Annotated[str, Field(max_length=MAX_MODEL)] = ""
    charge: bool = True
    waste: Waste | None = None
    cheapest_micros: Money | None = None
    payer: str = ""


class Period(StrEnum):
    """How often a limit is renewed."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"


class Budget(BaseModel):
    """What an account may spend; stored under `budgets/<account>`.

    A `limit_micros` of None is no limit. Without a `period` it is never renewed. `soft_share` is
    the share of the limit from which on the account counts as nearly used up; None leaves it to
    the policy.
    """

    model_config = _FROZEN

    limit_micros: Money | None = None
    period: Period | None = None
    time_zone: str = "UTC"
    soft_share: Annotated[float, Field(gt=0, le=1)] | None = None
    update_time: datetime


class Stretch(BaseModel):
    """What was spent from `begin_time` until before `end_time`, a period of a budget."""

    model_config = _FROZEN

    begin_time: datetime
    end_time: datetime
    micros: int


class Spending(BaseModel):
    """What an account has spent; stored under `spending/<account>`.

    `total_micros` is all that was ever added up. `periods` has, for each kind of period, the last
    two in which there were costs, the earlier one first: so that a budget can change from one kind
    to another, and clocks that differ do not lose the period that others still have. Then come at
    most two that were ahead when costs were added last.
    """

    model_config = _FROZEN

    total_micros: int = 0
    periods: Mapping[Period, tuple[Stretch, ...]] = {}


class Row(BaseModel):
    """What was spent on one combination of swarm, operation, model and task.

    `micros` is what `count` costs charged. Of that, or of what other hours charged, the next three
    were wasted; `cheapest_micros` is what completed work would have cost on the cheapest
    qualified swarm.
    """

    model_config = _FROZEN

    swarm_id: str = ""
    operation: str = ""
    model: str = ""
    task_id: str = ""
    micros: int = 0
    count: int = 0
    failed_micros: int = 0
    repeated_micros: int = 0
    fenced_micros: int = 0
    cheapest_micros: int = 0


class Rollup(BaseModel):
    """What was spent in an hour or a day of UTC; stored under `rollups/<hour or day>`."""

    model_config = _FROZEN

    rows: tuple[Row, ...] = ()
