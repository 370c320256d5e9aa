"""Loaded swarms, runs and violations as protobuf messages."""

from infrafabric.v1 import chassis_contract_pb2, chassis_execution_pb2
from infrafabric_server.chassis.models import (
    Execution,
    LoadedSwarm,
    ModuleKind,
    Violation,
    ViolationKind,
)
from infrafabric_server.chassis.service.endpoints import endpoint_to_wire
from infrafabric_server.edge.struct_json import json_to_struct
from infrafabric_server.edge.times import to_duration, to_timestamp

KINDS = {
    ModuleKind.WASI_COMMAND: chassis_contract_pb2.MODULE_KIND_WASI_COMMAND,
    ModuleKind.CORE: chassis_contract_pb2.MODULE_KIND_CORE,
}
VIOLATIONS = {
    ViolationKind.MEMORY: chassis_execution_pb2.VIOLATION_KIND_MEMORY,
    ViolationKind.TABLE: chassis_execution_pb2.VIOLATION_KIND_TABLE,
    ViolationKind.STACK: chassis_execution_pb2.VIOLATION_KIND_STACK,
    ViolationKind.CPU: chassis_execution_pb2.VIOLATION_KIND_CPU,
    ViolationKind.EXECUTION_TIME: chassis_execution_pb2.VIOLATION_KIND_EXECUTION_TIME,
    ViolationKind.OUTPUT: chassis_execution_pb2.VIOLATION_KIND_OUTPUT,
    ViolationKind.API_CALLS: chassis_execution_pb2.VIOLATION_KIND_API_CALLS,
    ViolationKind.API_DENIED: chassis_execution_pb2.VIOLATION_KIND_API_DENIED,
    ViolationKind.PROTOCOL: chassis_execution_pb2.VIOLATION_KIND_PROTOCOL,
    ViolationKind.ESCAPE: chassis_execution_pb2.VIOLATION_KIND_ESCAPE,
    ViolationKind.EXIT: chassis_execution_pb2.VIOLATION_KIND_EXIT,
}


def loaded_to_wire(loaded: LoadedSwarm) -> chassis_contract_pb2.LoadedSwarm:
    """Return a loaded swarm as a message."""
    contract = loaded.contract
    limits, slo = contract.limits, contract.slo
    message = chassis_contract_pb2.LoadedSwarm(
        swarm_id=loaded.swarm_id,
        module_sha256=loaded.module_sha256,
        size_bytes=loaded.size,
        kind=KINDS[loaded.kind],
        contract=chassis_contract_pb2.ServiceContract(
            limits=chassis_contract_pb2.ResourceLimits(
                max_memory_mb=limits.max_memory_mb,
                max_cpu_percent=limits.max_cpu_percent,
                max_api_calls_per_second=limits.max_api_calls_per_second,
                max_execution_time=to_duration(limits.max_execution_time),
                max_output_bytes=limits.max_output_bytes,
            ),
            slo=chassis_contract_pb2.SLODefinition(
                success_rate=slo.success_rate, availability=slo.availability
            ),
            allowed_calls=sorted(contract.allowed_calls),
            endpoints=map(endpoint_to_wire, contract.endpoints),
            version=contract.version,
        ),
        load_time=to_timestamp(loaded.load_time),
    )
    if slo.p99_latency is not None:
        message.contract.slo.p99_latency.CopyFrom(to_duration(slo.p99_latency))
    return message


def execution_to_wire(execution: Execution) -> chassis_execution_pb2.ExecuteTaskResponse:
    """Return how a run ended as a message."""
    usage = execution.usage
    message = chassis_execution_pb2.ExecuteTaskResponse(
        succeeded=execution.succeeded,
        reason=execution.reason,
        usage=chassis_execution_pb2.ExecutionUsage(
            cpu_time=to_duration(usage.cpu_time),
            wall_time=to_duration(usage.wall_time),
            peak_memory_bytes=usage.peak_memory_bytes,
            api_calls=usage.api_calls,
            output_bytes=usage.output_bytes,
        ),
        violations=map(violation_to_wire, execution.violations),
    )
    if execution.succeeded:
        message.result.SetInParent()
        json_to_struct(execution.result_json, message.result)
    return message


def violation_to_wire(violation: Violation) -> chassis_execution_pb2.Violation:
    """Return a violation as a message."""
    return chassis_execution_pb2.Violation(
        kind=VIOLATIONS[violation.kind],
        limit=violation.limit,
        observed=violation.observed,
        detail=violation.detail,
        task_id=violation.task_id,
        time=to_timestamp(violation.time),
    )
