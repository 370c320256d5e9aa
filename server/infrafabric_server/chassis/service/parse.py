"""Protobuf messages as the values of the use cases; each refusal names its field."""

import re
from datetime import timedelta

from infrafabric.v1 import chassis_contract_pb2 as pb
from infrafabric_server.chassis.contract import (
    LONGEST_RUN,
    MAX_CALLS,
    SHORTEST_RUN,
    SLODefinition,
)
from infrafabric_server.chassis.credentials.models import MAX_ENDPOINTS
from infrafabric_server.chassis.ports import Wanted
from infrafabric_server.chassis.service.endpoints import read_endpoint
from infrafabric_server.edge import validate
from infrafabric_server.edge.times import from_duration
from infrafabric_server.errors import FieldViolation, InvalidField
from infrafabric_server.limits import MAX_MODEL, MAX_PAYLOAD_BYTES

_DIGEST = re.compile(r"[0-9a-f]{64}")
_MONTH = timedelta(days=30)
_BOUNDS = {
    "max_memory_mb": (1, 4096),
    "max_cpu_percent": (1, 100),
    "max_api_calls_per_second": (1, 10_000),
    "max_output_bytes": (1, MAX_PAYLOAD_BYTES),
}


def digest(field: str, value: str) -> str:
    """Return a SHA-256, or raise InvalidField."""
    if _DIGEST.fullmatch(value) is None:
        raise InvalidField(FieldViolation(field, "must be 64 hexadecimal digits, in lower case"))
    return value


def wanted(message: pb.ServiceContract) -> Wanted:
    """Return the contract that a caller wants."""
    at = "contract."
    if len(message.allowed_calls) > MAX_CALLS:
        rule = f"must have at most {MAX_CALLS} entries"
        raise InvalidField(FieldViolation(f"{at}allowed_calls", rule))
    if len(message.endpoints) > MAX_ENDPOINTS:
        rule = f"must have at most {MAX_ENDPOINTS} entries"
        raise InvalidField(FieldViolation(f"{at}endpoints", rule))
    return Wanted(
        limits=_limits(f"{at}limits.", message.limits),
        slo=_slo(f"{at}slo.", message.slo),
        allowed_calls=frozenset(message.allowed_calls),
        endpoints=tuple(
            read_endpoint(f"{at}endpoints[{n}]", each) for n, each in enumerate(message.endpoints)
        ),
        version=validate.require_text(f"{at}version", message.version, most=MAX_MODEL),
    )


def _limits(at: str, message: pb.ResourceLimits) -> dict[str, int | timedelta]:
    given: dict[str, int | timedelta] = {}
    for descriptor, value in message.ListFields():
        name = descriptor.name
        if name in _BOUNDS:
            given[name] = validate.require_int(at + name, value, *_BOUNDS[name])
    if message.HasField("max_execution_time"):
        given["max_execution_time"] = from_duration(
            f"{at}max_execution_time",
            message.max_execution_time,
            least=SHORTEST_RUN,
            most=LONGEST_RUN,
        )
    return given


def _slo(at: str, message: pb.SLODefinition) -> SLODefinition:
    latency = None
    if message.HasField("p99_latency"):
        shortest = timedelta(microseconds=1)
        latency = from_duration(
            f"{at}p99_latency", message.p99_latency, least=shortest, most=_MONTH
        )
    success = message.success_rate if message.HasField("success_rate") else None
    availability = message.availability if message.HasField("availability") else None
    return SLODefinition(
        p99_latency=latency,
        success_rate=_share(f"{at}success_rate", success),
        availability=_share(f"{at}availability", availability),
    )


def _share(field: str, value: float | None) -> float | None:
    if value is not None and not 0 < value < 1:
        raise InvalidField(FieldViolation(field, "must be above 0 and below 1"))
    return value
