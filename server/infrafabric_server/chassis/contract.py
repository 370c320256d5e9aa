"""What the module of a swarm may use, and what is promised for it."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from infrafabric_server.chassis.credentials.models import MAX_ENDPOINTS, Endpoint
from infrafabric_server.errors import FieldViolation, InvalidField
from infrafabric_server.governor.policy.models import Containing
from infrafabric_server.governor.policy.naming import named
from infrafabric_server.limits import MAX_MODEL, MAX_PAYLOAD_BYTES

_FROZEN = ConfigDict(frozen=True)
MAX_CALLS = 16
PROGRESS = "progress"
HTTP = "http"
KV = "kv"

# Host calls that a contract can grant.
KNOWN_CALLS = frozenset({HTTP, KV, PROGRESS})

SHORTEST_RUN = timedelta(milliseconds=10)
LONGEST_RUN = timedelta(hours=1)
_MONTH = timedelta(days=30)

Portion = Annotated[float, Field(gt=0, lt=1)]


class ResourceLimits(BaseModel):
    """What one run of a module may use.

    `max_memory_mb` is in MiB, `max_cpu_percent` of one processor.
    """

    model_config = _FROZEN

    max_memory_mb: Annotated[int, Field(ge=1, le=4096)] = 64
    max_cpu_percent: Annotated[int, Field(ge=1, le=100)] = 100
    max_api_calls_per_second: Annotated[int, Field(ge=1, le=10_000)] = 100
    max_execution_time: Annotated[timedelta, Field(ge=SHORTEST_RUN, le=LONGEST_RUN)] = timedelta(
        seconds=10
    )
    max_output_bytes: Annotated[int, Field(ge=1, le=MAX_PAYLOAD_BYTES)] = 65_536

    @classmethod
    def within(
        cls, given: Mapping[str, int | timedelta], most: Containing, policy_hash: str
    ) -> "ResourceLimits":
        """Return the limits that a contract names, and the default for each that it leaves out.

        A default gives way to a policy that allows less.

        Args:
            given: what the contract names, by the name of the field.
            most: what the policy allows.
            policy_hash: names the policy to the caller.

        Raises:
            InvalidField: one is beyond the policy.
            pydantic.ValidationError: one is beyond its own bounds.
        """
        limits = cls.model_validate(dict(given))
        beyond = [
            FieldViolation(
                f"contract.limits.{name}",
                f"must be at most {_shown(bound)}, chassis.{name} of {named(policy_hash)}",
            )
            for name, bound in most.bounds.items()
            if name in given and getattr(limits, name) > bound
        ]
        if beyond:
            raise InvalidField(*beyond)
        lowered = {
            name: bound for name, bound in most.bounds.items() if getattr(limits, name) > bound
        }
        return limits.model_copy(update=lowered)


class SLODefinition(BaseModel):
    """How well a swarm has promised to work; what is None is as the policy has it.

    99 of 100 tasks take at most `p99_latency`; the others are shares, of tasks that succeed and
    of time that the swarm is there.
    """

    model_config = _FROZEN

    p99_latency: Annotated[timedelta, Field(gt=timedelta(0), le=_MONTH)] | None = None
    success_rate: Portion | None = None
    availability: Portion | None = None


class ServiceContract(BaseModel):
    """What holds for a loaded swarm; `allowed_calls` are the host calls that it may make.

    Each attempt of a task gets a credential for `endpoints`, to be used by the call `http`.
    """

    model_config = _FROZEN

    limits: ResourceLimits = ResourceLimits()
    slo: SLODefinition = SLODefinition()
    allowed_calls: Annotated[frozenset[str], Field(max_length=MAX_CALLS)] = frozenset()
    endpoints: Annotated[tuple[Endpoint, ...], Field(max_length=MAX_ENDPOINTS)] = ()
    version: Annotated[str, Field(max_length=MAX_MODEL)] = ""


def _shown(bound: int | timedelta) -> str:
    return f"{bound.total_seconds():g}s" if isinstance(bound, timedelta) else str(bound)
