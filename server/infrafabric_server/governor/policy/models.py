"""The settings of a policy and their defaults, and what else its file may hold."""

import re
from collections.abc import Callable, Collection, Mapping
from datetime import timedelta
from fnmatch import fnmatchcase
from fractions import Fraction
from functools import cached_property, lru_cache
from typing import Annotated, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    model_validator,
)

from infrafabric_server.governor.matching import Comparison, Metric
from infrafabric_server.governor.policy.cases import Case, RuleName
from infrafabric_server.governor.policy.hosts import HostPattern, matches
from infrafabric_server.limits import MAX_MONEY_MICROS, MAX_PAYLOAD_BYTES, MAX_TEXT

_FROZEN = ConfigDict(frozen=True, extra="forbid")
_UNITS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
_SPAN = re.compile(
    r"(?=[0-9])(?:([0-9]{1,8})d)?(?:([0-9]{1,8})h)?(?:([0-9]{1,8})m)?(?:([0-9]{1,8})s)?"
)


def _span(value: object) -> timedelta:
    if isinstance(value, timedelta):
        return value
    found = _SPAN.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError("must be a duration such as 30s, 5m or 1h30m")
    return timedelta(
        seconds=sum(
            int(number or 0) * unit
            for number, unit in zip(found.groups(), _UNITS.values(), strict=True)
        )
    )


def written(span: timedelta) -> str:
    """Return a duration as a policy has it, such as `1h30m`."""
    left, text = int(span.total_seconds()), ""
    for name, unit in _UNITS.items():
        number, left = divmod(left, unit)
        text += f"{number}{name}" if number else ""
    return text or "0s"


def _between(least: timedelta, most: timedelta) -> AfterValidator:
    def check(span: timedelta) -> timedelta:
        if not least <= span <= most:
            raise ValueError(f"must be {written(least)} to {written(most)}")
        return span

    return AfterValidator(check)


_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)
_SECOND, _MINUTE = timedelta(seconds=1), timedelta(minutes=1)

_Duration = Annotated[timedelta, BeforeValidator(_span), PlainSerializer(written)]
_Number = Annotated[int, Field(strict=True)]

Money = Annotated[_Number, Field(ge=0, le=MAX_MONEY_MICROS)]
Share = Annotated[float, Field(strict=True, gt=0, le=1)]
# Nothing always succeeds: a target of 1 would leave no budget for errors.
Target = Annotated[float, Field(strict=True, gt=0, lt=1)]
Count = Annotated[_Number, Field(ge=1, le=1000)]
Glob = Annotated[str, Field(min_length=1, max_length=128)]
_Span = Annotated[_Duration, _between(_SECOND, 30 * _DAY)]


class Matching(BaseModel):
    """Which swarms qualify: those of at least `min_match` by `metric`."""

    model_config = _FROZEN

    metric: Metric = Metric.JACCARD
    min_match: Share = 0.7

    @property
    def comparison(self) -> Comparison:
        """How swarms are compared, with the least match as the exact number that was written."""
        return self.comparisons[self.metric]

    @cached_property
    def comparisons(self) -> Mapping[Metric, Comparison]:
        """How they would be by each metric."""
        least = Fraction(str(self.min_match))
        return {metric: Comparison(metric, least) for metric in Metric}


class Budgets(BaseModel):
    """What a task without a limit of its own reserves, and when an account is nearly used up."""

    model_config = _FROZEN

    default_task_cost_micros: Money = 1_000_000
    max_task_cost_micros: Money | None = None
    soft_share: Share = 0.8

    @property
    def default_micros(self) -> int:
        """What a task without a limit of its own reserves: not more than a task may cost."""
        limit = self.max_task_cost_micros
        default = self.default_task_cost_micros
        return default if limit is None else min(default, limit)


class Breaking(BaseModel):
    """When a swarm's circuit breaker opens, and how long it has to stop then.

    Failures in a row are counted by task: one that fails again counts once. The rates are over
    the last `window` of attempts, and count from `min_calls` on. None is never.
    An attempt is slow when it took longer than `slow_after`.
    """

    model_config = _FROZEN

    max_consecutive_failures: Count | None = 3
    max_failure_rate: Share | None = 0.5
    max_slow_rate: Share | None = None
    slow_after: _Span = timedelta(minutes=30)
    window: _Span = timedelta(hours=1)
    min_calls: Count = 10
    max_cost_per_minute_micros: Money | None = None
    halt_grace: Annotated[_Duration, _between(timedelta(0), _HOUR)] = 30 * _SECOND


class Escalating(BaseModel):
    """When an escalation that nobody acknowledges rises to the next level."""

    model_config = _FROZEN

    raise_after: _Span = timedelta(minutes=15)


class Helping(BaseModel):
    """How many swarms help with a task, which ones fit, and how long each has to answer."""

    model_config = _FROZEN

    max_swarms_per_task: Annotated[_Number, Field(ge=1, le=64)] = 3
    min_coverage: Share = 0.5
    offer_for: _Span = timedelta(seconds=30)

    @cached_property
    def comparison(self) -> Comparison:
        """Which swarms fit, with the least coverage as the exact number that was written."""
        return Comparison(Metric.COVERAGE, Fraction(str(self.min_coverage)))


class Containing(BaseModel):
    """What foreign code may use at most, and what a server must hold to run it.

    Memory, processor, calls, time and output bound what contracts may say, `max_module_mb` and
    `max_modules_mb` the size of a module and of all. On each server, `max_running` runs go on at a
    time, `max_waiting_per_swarm` wait for a swarm and `max_waiting` in all. `required_layers` are
    layers of the sandbox, as `infrafabric chassis doctor` names them. Contracts and credentials
    name no hosts but `allowed_hosts`; None is any.
    """

    model_config = _FROZEN

    max_memory_mb: Annotated[_Number, Field(ge=1, le=4096)] = 512
    max_cpu_percent: Annotated[_Number, Field(ge=1, le=100)] = 100
    max_api_calls_per_second: Annotated[_Number, Field(ge=1, le=10_000)] = 1000
    max_execution_time: Annotated[_Duration, _between(_SECOND, _HOUR)] = 5 * _MINUTE
    max_output_bytes: Annotated[_Number, Field(ge=1, le=MAX_PAYLOAD_BYTES)] = MAX_PAYLOAD_BYTES
    max_module_mb: Annotated[_Number, Field(ge=1, le=64)] = 16
    max_modules_mb: Annotated[_Number, Field(ge=1, le=4096)] = 256
    max_running: Annotated[_Number, Field(ge=1, le=64)] = 4
    max_waiting_per_swarm: Annotated[_Number, Field(ge=0, le=1000)] = 16
    max_waiting: Annotated[_Number, Field(ge=0, le=10_000)] = 128
    required_layers: Annotated[tuple[RuleName, ...], Field(max_length=32)] = ()
    allowed_hosts: Annotated[tuple[HostPattern, ...], Field(max_length=64)] | None = None

    def allows_host(self, host: str) -> bool:
        """Tell whether contracts and credentials may name a host, in lower case."""
        return self.allowed_hosts is None or matches(host, self.allowed_hosts)

    @property
    def bounds(self) -> dict[str, int | timedelta]:
        """What each limit of a contract may be at most, by its name."""
        return {
            "max_memory_mb": self.max_memory_mb,
            "max_cpu_percent": self.max_cpu_percent,
            "max_api_calls_per_second": self.max_api_calls_per_second,
            "max_execution_time": self.max_execution_time,
            "max_output_bytes": self.max_output_bytes,
        }


class ServiceLevel(BaseModel):
    """What a swarm should keep over the last `window`, of which `max_attempts` are enough.

    99 % of its completed attempts should take no longer than `p99_latency`. A burn rate of
    `max_burn_rate` opens its breaker, from `min_attempts` on. None asks for nothing.
    """

    model_config = _FROZEN

    success_rate: Target = 0.95
    p99_latency: _Span | None = timedelta(minutes=30)
    availability: Target | None = 0.95
    window: _Span = timedelta(days=1)
    max_attempts: Annotated[_Number, Field(ge=10, le=100_000)] = 1_000
    min_attempts: Count = 10
    max_burn_rate: Annotated[float, Field(strict=True, ge=1, le=1000)] | None = None


class Reputing(BaseModel):
    """What a swarm without a record is worth, for how many attempts that counts, and how long.

    What was seen of a swarm counts half after each `half_life`.
    """

    model_config = _FROZEN

    prior: Share = 0.5
    prior_weight: Annotated[float, Field(strict=True, ge=1, le=1000)] = 10.0
    half_life: Annotated[_Duration, _between(_MINUTE, 365 * _DAY)] = 7 * _DAY


class Rule(BaseModel):
    """A claim of which `when` holds is denied, with `deny` as the message."""

    model_config = _FROZEN

    name: RuleName
    when: Annotated[str, Field(min_length=1)]
    deny: Annotated[str, Field(min_length=1, max_length=MAX_TEXT)]


class Override(BaseModel):
    """Other settings for some tasks, or for some swarms.

    `tasks` is a pattern of task ids, `capability` one of capabilities of which a task requires at
    least one, `swarms` one of swarm ids: `*` stands for any text, `?` for one character, `[ab]`
    for one of some. Only what is written in a section of it is another setting.
    """

    model_config = _FROZEN

    tasks: Glob | None = None
    capability: Glob | None = None
    swarms: Glob | None = None
    matching: Matching | None = None
    budgets: Budgets | None = None
    breaker: Breaking | None = None
    slo: ServiceLevel | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        of_tasks = self.tasks is not None or self.capability is not None
        if of_tasks is (self.swarms is not None):
            raise ValueError("must have tasks or capability, or else swarms")
        says = self.matching is not None or self.budgets is not None
        of_swarms = self.breaker is not None or self.slo is not None
        if of_tasks and (not says or of_swarms):
            raise ValueError(
                "has tasks or capability: must have matching or budgets, and no breaker or slo"
            )
        if not of_tasks and (not of_swarms or says):
            raise ValueError(
                "has swarms: must have breaker or slo, and neither matching nor budgets"
            )
        if self.budgets is not None and "soft_share" in self.budgets.model_fields_set:
            raise ValueError("soft_share is of accounts, and cannot differ by task")
        return self

    def is_for_task(self, task_id: str, required: Collection[str]) -> bool:
        """Tell whether it is for a task; with both patterns, both must fit."""
        if self.swarms is not None:
            return False
        if self.tasks is not None and not fnmatchcase(task_id, self.tasks):
            return False
        return self.capability is None or self._is_required(frozenset(required))

    @cached_property
    def _is_required(self) -> Callable[[frozenset[str]], bool]:
        """Tells of requirements whether the pattern fits one of them.

        Each claim asks, with up to 64 of them and 100 overrides; tasks alike have the same ones.
        """
        wanted = self.capability or ""
        return lru_cache(1024)(lambda required: any(fnmatchcase(each, wanted) for each in required))

    def is_for_swarm(self, swarm_id: str) -> bool:
        """Tell whether it is for a swarm."""
        return self.swarms is not None and fnmatchcase(swarm_id, self.swarms)


class Policy(BaseModel):
    """All settings; a file names those that differ from the defaults.

    Of several overrides that set the same, the last one that fits counts.
    """

    model_config = _FROZEN

    matching: Matching = Matching()
    budgets: Budgets = Budgets()
    breaker: Breaking = Breaking()
    escalation: Escalating = Escalating()
    help: Helping = Helping()
    slo: ServiceLevel = ServiceLevel()
    reputation: Reputing = Reputing()
    chassis: Containing = Containing()
    overrides: Annotated[tuple[Override, ...], Field(max_length=100)] = ()
    rules: Annotated[tuple[Rule, ...], Field(max_length=100)] = ()
    cases: Annotated[tuple[Case, ...], Field(max_length=1000)] = ()

    def matching_for(self, task_id: str, required: Collection[str]) -> Matching:
        """Return what holds for a task: the same object for the same settings.

        So what a Matching works out is worked out once, and `is` tells whether two are alike.
        """
        metric, least = self.matching.metric, self.matching.min_match
        for each, given in self._matching_overrides:
            if each.is_for_task(task_id, required):
                said = given.model_fields_set
                metric = given.metric if "metric" in said else metric
                least = given.min_match if "min_match" in said else least
        found = self._matchings.get((metric, least))
        if found is None:
            # No copy: that would take along what another one has worked out.
            found = Matching(metric=metric, min_match=least)
            self._matchings[(metric, least)] = found
        return found

    @property
    def overrides_matching(self) -> bool:
        """Whether swarms may be compared differently for some tasks."""
        return bool(self._matching_overrides)

    @cached_property
    def _matching_overrides(self) -> tuple[tuple[Override, Matching], ...]:
        return tuple((each, each.matching) for each in self.overrides if each.matching is not None)

    @cached_property
    def _matchings(self) -> dict[tuple[Metric, float], Matching]:
        """What was found before; at most two for each share that is written somewhere."""
        return {(self.matching.metric, self.matching.min_match): self.matching}

    def budgets_for(self, task_id: str, required: Collection[str]) -> Budgets:
        """Return what holds for a task."""
        found = self.budgets
        for each in self.overrides:
            if each.budgets is not None and each.is_for_task(task_id, required):
                found = found.model_copy(update=_given(each.budgets))
        return found

    def breaker_for(self, swarm_id: str) -> Breaking:
        """Return what holds for a swarm."""
        found = self.breaker
        for each in self.overrides:
            if each.breaker is not None and each.is_for_swarm(swarm_id):
                found = found.model_copy(update=_given(each.breaker))
        return found

    def slo_for(self, swarm_id: str) -> ServiceLevel:
        """Return what holds for a swarm."""
        found = self.slo
        for each in self.overrides:
            if each.slo is not None and each.is_for_swarm(swarm_id):
                found = found.model_copy(update=_given(each.slo))
        return found


def _given(model: BaseModel) -> dict[str, object]:
    return {name: getattr(model, name) for name in model.model_fields_set}
