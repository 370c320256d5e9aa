"""The calls about one claim, and about what keeps its holder from going on."""

from infrafabric.v1 import coordinator_claim_pb2 as pb
from infrafabric.v1.coordinator_service_pb2_grpc import CoordinatorServiceServicer
from infrafabric_server.coordinator.coordinator import Coordinator
from infrafabric_server.coordinator.service import parse
from infrafabric_server.coordinator.service.wire import (
    blocker_to_wire,
    claim_to_wire,
    task_to_wire,
)
from infrafabric_server.edge import validate
from infrafabric_server.edge.calls import Context
from infrafabric_server.edge.struct_json import struct_to_json
from infrafabric_server.edge.times import from_timestamp

Held = (
    pb.ReleaseTaskRequest
    | pb.ExtendClaimRequest
    | pb.ReportProgressRequest
    | pb.CompleteTaskRequest
    | pb.FailTaskRequest
)


def _claim_of(request: Held) -> tuple[str, str, int]:
    return (
        validate.require_id("swarm_id", request.swarm_id),
        validate.require_id("task_id", request.task_id),
        validate.require_attempt("attempt", request.attempt),
    )


class ClaimCalls(CoordinatorServiceServicer):
    """Claiming, keeping and ending claims outside a session, and blockers."""

    coordinator: Coordinator

    async def ClaimTask(
        self,
        request: pb.ClaimTaskRequest,
        context: Context,
    ) -> pb.ClaimTaskResponse:
        """Claim a task; losing is an answer."""
        swarm_id = validate.require_id("swarm_id", request.swarm_id)
        task_id = validate.require_id("task_id", request.task_id)
        outcome = await self.coordinator.background.finish(
            self.coordinator.claim_task(swarm_id, task_id)
        )
        return claim_to_wire(outcome)

    async def ReleaseTask(
        self,
        request: pb.ReleaseTaskRequest,
        context: Context,
    ) -> pb.ReleaseTaskResponse:
        """Give a task back."""
        reason = validate.require_text("reason", request.reason)
        task = await self.coordinator.background.finish(
            self.coordinator.claims.release(*_claim_of(request), reason)
        )
        return pb.ReleaseTaskResponse(task=task_to_wire(task))

    async def ExtendClaim(
        self,
        request: pb.ExtendClaimRequest,
        context: Context,
    ) -> pb.ExtendClaimResponse:
        """Give a claim its whole time to live again."""
        task = await self.coordinator.background.finish(
            self.coordinator.claims.extend(*_claim_of(request))
        )
        return pb.ExtendClaimResponse(task=task_to_wire(task))

    async def ReportProgress(
        self,
        request: pb.ReportProgressRequest,
        context: Context,
    ) -> pb.ReportProgressResponse:
        """Record a milestone."""
        task = await self.coordinator.background.finish(
            self.coordinator.claims.progress(
                *_claim_of(request),
                percent=parse.milestone("milestone_percent", request.milestone_percent),
                note=validate.require_text("note", request.note),
                blocked_on=parse.waits_for("blocked_on", request.blocked_on),
                next_action=validate.require_text("next_action", request.next_action),
            )
        )
        return pb.ReportProgressResponse(task=task_to_wire(task))

    async def CompleteTask(
        self,
        request: pb.CompleteTaskRequest,
        context: Context,
    ) -> pb.CompleteTaskResponse:
        """Complete a task for good."""
        task = await self.coordinator.background.finish(
            self.coordinator.claims.complete(
                *_claim_of(request),
                result_json=struct_to_json("result", request.result),
                cost_micros=validate.require_money("cost_micros", request.cost_micros),
            )
        )
        return pb.CompleteTaskResponse(task=task_to_wire(task))

    async def FailTask(
        self,
        request: pb.FailTaskRequest,
        context: Context,
    ) -> pb.FailTaskResponse:
        """End an attempt without success."""
        retry_time = None
        if request.HasField("retry_time"):
            retry_time = from_timestamp("retry_time", request.retry_time)
        task = await self.coordinator.background.finish(
            self.coordinator.claims.fail(
                *_claim_of(request),
                reason=validate.require_text("reason", request.reason),
                kind=parse.failure_kind("kind", request.kind),
                retry_time=retry_time,
            )
        )
        return pb.FailTaskResponse(task=task_to_wire(task))

    async def ReportBlocker(
        self,
        request: pb.ReportBlockerRequest,
        context: Context,
    ) -> pb.ReportBlockerResponse:
        """Bring before the orchestrator that a swarm cannot go on."""
        swarm_id = validate.require_id("swarm_id", request.swarm_id)
        report = parse.blocker_report(
            "", request.task_id, request.attempt, request.description, request.needs
        )
        alert = await self.coordinator.background.finish(
            self.coordinator.detect_blocker(swarm_id, report)
        )
        return pb.ReportBlockerResponse(blocker=blocker_to_wire(alert))

    async def ResolveBlocker(
        self,
        request: pb.ResolveBlockerRequest,
        context: Context,
    ) -> pb.ResolveBlockerResponse:
        """Close a blocker."""
        alert = await self.coordinator.background.finish(
            self.coordinator.resolve_blocker(
                validate.require_id("swarm_id", request.swarm_id),
                validate.optional_id("task_id", request.task_id),
                validate.require_text("resolution", request.resolution),
            )
        )
        return pb.ResolveBlockerResponse(blocker=blocker_to_wire(alert))
