"""Cases that a policy's file is tested with: what is claimed by whom, and what comes of it."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from infrafabric_server.limits import (
    MAX_LABEL,
    MAX_MODEL,
    MAX_MONEY_MICROS,
    MAX_SLOTS,
    Capability,
    Identifier,
)

ALLOW = "allow"
"""What a case expects of which no rule may deny anything."""
MAX_TASK_COST = "max_task_cost_micros"
"""The rule that the setting of that name is."""

_FROZEN = ConfigDict(frozen=True, extra="forbid")
_Number = Annotated[int, Field(strict=True)]
_Money = Annotated[_Number, Field(ge=0, le=MAX_MONEY_MICROS)]
_Capabilities = Annotated[tuple[Capability, ...], Field(max_length=64)]

RuleName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._\-]{0,63}$")]


class CaseTask(BaseModel):
    """The task of a case; without `max_cost_micros` it costs the default."""

    model_config = _FROZEN

    id: Identifier = "task"
    title: Annotated[str, Field(max_length=MAX_LABEL)] = ""
    required_capabilities: _Capabilities = ()
    priority: Annotated[_Number, Field(ge=-1000, le=1000)] = 0
    filler: Annotated[bool, Field(strict=True)] = False
    preferred_model: Annotated[str, Field(max_length=MAX_MODEL)] = ""
    estimated_seconds: Annotated[_Number, Field(ge=0, le=2_592_000)] = 0
    max_cost_micros: _Money | None = None
    spent_micros: _Money = 0
    attempt: Annotated[_Number, Field(ge=1)] = 1
    failures: Annotated[_Number, Field(ge=0)] = 0


class CaseSwarm(BaseModel):
    """The swarm of a case."""

    model_config = _FROZEN

    id: Identifier = "swarm"
    capabilities: _Capabilities = ()
    cost_per_hour_micros: _Money = 0
    model: Annotated[str, Field(max_length=MAX_MODEL)] = ""
    max_concurrent_tasks: Annotated[_Number, Field(ge=1, le=MAX_SLOTS)] = 1
    credential_pool: str = ""


class CaseAccount(BaseModel):
    """An account of a case; without `limit_micros` it has no limit."""

    model_config = _FROZEN

    limit_micros: _Money | None = None
    spent_micros: _Money = 0
    reserved_micros: _Money = 0


class Case(BaseModel):
    """A claim, and the rule that denies it, or `allow`."""

    model_config = _FROZEN

    name: Annotated[str, Field(min_length=1, max_length=MAX_LABEL)]
    task: CaseTask = CaseTask()
    swarm: CaseSwarm = CaseSwarm()
    budget: CaseAccount = CaseAccount()
    fabric: CaseAccount = CaseAccount()
    expect: RuleName
