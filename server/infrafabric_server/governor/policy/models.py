"""The settings of a policy and their defaults."""

from datetime import timedelta
from fractions import Fraction
from functools import cached_property
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from infrafabric_server.governor.matching import Comparison, Metric
from infrafabric_server.limits import MAX_MONEY_MICROS

_FROZEN = ConfigDict(frozen=True, extra="forbid")

Money = Annotated[int, Field(ge=0, le=MAX_MONEY_MICROS)]
Share = Annotated[float, Field(gt=0, le=1)]
_Span = Annotated[timedelta, Field(ge=timedelta(seconds=1), le=timedelta(days=30))]


class Matching(BaseModel):
    """Which swarms qualify: those of at least `min_match` by `metric`."""

    model_config = _FROZEN

    metric: Metric = Metric.JACCARD
    min_match: Share = 0.7

    @cached_property
    def comparison(self) -> Comparison:
        """How swarms are compared, with the least match as the exact number that was written."""
        return Comparison(self.metric, Fraction(str(self.min_match)))


class Budgets(BaseModel):
    """What a task without a limit of its own reserves, and when an account is nearly used up."""

    model_config = _FROZEN

    default_task_cost_micros: Money = 1_000_000
    max_task_cost_micros: Money | None = None
    soft_share: Share = 0.8


class Breaking(BaseModel):
    """When a swarm's circuit breaker opens, and how long it has to stop then.

    The rates are over the last `window` of attempts, and count from `min_calls` on; None is never.
    An attempt is slow when it took longer than `slow_after`.
    """

    model_config = _FROZEN

    max_consecutive_failures: Annotated[int, Field(ge=1, le=1000)] = 3
    max_failure_rate: Share | None = 0.5
    max_slow_rate: Share | None = None
    slow_after: _Span = timedelta(minutes=30)
    window: _Span = timedelta(hours=1)
    min_calls: Annotated[int, Field(ge=1, le=1000)] = 10
    max_cost_per_minute_micros: Money | None = None
    halt_grace: Annotated[timedelta, Field(ge=timedelta(0), le=timedelta(hours=1))] = timedelta(
        seconds=30
    )


class Escalating(BaseModel):
    """When an escalation that nobody acknowledges rises to the next level."""

    model_config = _FROZEN

    raise_after: _Span = timedelta(minutes=15)


class Policy(BaseModel):
    """All settings; a file names those that differ from the defaults."""

    model_config = _FROZEN

    matching: Matching = Matching()
    budgets: Budgets = Budgets()
    breaker: Breaking = Breaking()
    escalation: Escalating = Escalating()
