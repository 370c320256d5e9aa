"""The calls about runs: running, and what went wrong."""

from infrafabric.v1 import chassis_execution_pb2 as pb
from infrafabric.v1.chassis_service_pb2_grpc import ChassisServiceServicer
from infrafabric_server.chassis.chassis import Chassis
from infrafabric_server.chassis.service.wire import execution_to_wire, violation_to_wire
from infrafabric_server.edge import validate
from infrafabric_server.edge.calls import Context
from infrafabric_server.edge.struct_json import struct_to_json


class ExecutionCalls(ChassisServiceServicer):
    """ExecuteTask, ListViolations."""

    chassis: Chassis

    async def ExecuteTask(
        self, request: pb.ExecuteTaskRequest, context: Context
    ) -> pb.ExecuteTaskResponse:
        """Run the module of a swarm; the end of the call ends it."""
        execution = await self.chassis.execute_task(
            validate.require_id("swarm_id", request.swarm_id),
            validate.require_id("task_id", request.task_id),
            struct_to_json("input", request.input),
        )
        return execution_to_wire(execution)

    async def ListViolations(
        self, request: pb.ListViolationsRequest, context: Context
    ) -> pb.ListViolationsResponse:
        """Return the latest violations of a swarm, the newest first."""
        swarm_id = validate.require_id("swarm_id", request.swarm_id)
        ring = self.chassis.latest_violations(swarm_id)
        newest = map(violation_to_wire, reversed(ring.latest))
        return pb.ListViolationsResponse(violations=newest, total=ring.total)
