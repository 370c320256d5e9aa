"""Circuit breakers and credential pools, as they are stored."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from infrafabric_server.limits import MAX_MODEL, Identifier, Text

_FROZEN = ConfigDict(frozen=True)

FABRIC = "fabric"
"""The id under which the hold of the whole fabric is stored."""


class BreakerState(StrEnum):
    """Whether work passes."""

    CLOSED = "closed"
    OPEN = "open"


class BreakerCause(StrEnum):
    """Why a breaker opened."""

    BUDGET = "budget"
    OVERRUN = "overrun"
    FAILURES = "failures"
    FAILURE_RATE = "failure_rate"
    SLOW = "slow"
    COST_RATE = "cost_rate"
    SLO = "slo"
    MANUAL = "manual"


class Outcome(BaseModel):
    """Attempts that ended in the stretch of time that begins at `time`, and how many badly.

    A failed attempt may be slow as well.
    """

    model_config = _FROZEN

    time: datetime
    calls: int
    failed: int = 0
    slow: int = 0


class Breaker(BaseModel):
    """What keeps work from a swarm; stored under `breakers/<swarm_id>`.

    The hold of the whole fabric is one without a swarm, under `holds/fabric`. What is said of an
    opening or a reset is of the last one. `fence_time` is when what still runs is taken away.
    `failed_task_id` is the task of the last failure in the row, which counts once.
    `window` has the attempts that count for the rates; of those that ended well it has the ones
    up to `counted_revision`, the rest is in memory.
    """

    model_config = _FROZEN

    swarm_id: Identifier | Literal[""] = ""
    state: BreakerState = BreakerState.CLOSED
    cause: BreakerCause | None = None
    detail: Text = ""
    open_time: datetime | None = None
    fence_time: datetime | None = None
    approver: Annotated[str, Field(max_length=MAX_MODEL)] = ""
    reset_reason: Text = ""
    reset_time: datetime | None = None
    consecutive_failures: int = 0
    failed_task_id: str = ""
    window: tuple[Outcome, ...] = ()
    counted_revision: int = 0
    policy_hash: str = ""

    @property
    def open(self) -> bool:
        """Whether it keeps work away."""
        return self.state is BreakerState.OPEN


class Pool(BaseModel):
    """An account at a provider that has no quota left; stored under `pools/<pool_id>`.

    The swarms that share it are given no work until `paused_until`.
    """

    model_config = _FROZEN

    pool_id: str
    paused_until: datetime
    reason: Text = ""


PRIVATE_POOL = "swarm:"
"""How the name of a swarm's own pool begins, which no other may name."""


def pool_of(swarm_id: str, credential_pool: str) -> str:
    """Return the pool of a swarm: the one that it shares, or its own."""
    return credential_pool or PRIVATE_POOL + swarm_id
