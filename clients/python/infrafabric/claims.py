"""Calls about claims that are made outside a session; they end by themselves after a while."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from infrafabric.calls import Caller
from infrafabric.failures import Provider, failure_kind
from infrafabric.v1 import coordinator_claim_pb2 as pb2
from infrafabric.v1.blocker_pb2 import Blocker
from infrafabric.v1.task_pb2 import Task
from infrafabric.values import to_struct


class Claims:
    """Claims, as CoordinatorService knows them.

    `attempt` is the number of the claim, from the task that `claim` returned. Every method
    may raise the FabricErrors that its RPC lists, above all ClaimVoid.
    """

    def __init__(self, calls: Caller) -> None:
        self._calls = calls

    async def claim(self, swarm_id: str, task_id: str) -> pb2.ClaimTaskResponse:
        """Claim a task; losing is an answer with the reason and the owner."""
        request = pb2.ClaimTaskRequest(swarm_id=swarm_id, task_id=task_id)
        return await self._calls.unary(lambda at: at.coordinator.ClaimTask, request)

    async def release(self, swarm_id: str, task_id: str, attempt: int, reason: str = "") -> Task:
        """Give a task back; `reason` has at most 4096 characters."""
        request = pb2.ReleaseTaskRequest(
            swarm_id=swarm_id, task_id=task_id, attempt=attempt, reason=reason
        )
        return (await self._calls.unary(lambda at: at.coordinator.ReleaseTask, request)).task

    async def extend(self, swarm_id: str, task_id: str, attempt: int) -> Task:
        """Give the claim its whole time to live again."""
        request = pb2.ExtendClaimRequest(swarm_id=swarm_id, task_id=task_id, attempt=attempt)
        return (await self._calls.unary(lambda at: at.coordinator.ExtendClaim, request)).task

    async def progress(
        self,
        swarm_id: str,
        task_id: str,
        attempt: int,
        milestone_percent: int,
        *,
        note: str = "",
        blocked_on: Iterable[str] = (),
        next_action: str = "",
    ) -> Task:
        """Report a milestone, which extends the claim.

        Args:
            swarm_id: the swarm that holds the task.
            task_id: the task.
            attempt: the attempt of the claim.
            milestone_percent: 0, 25, 50, 75 or 100.
            note: what was reached, at most 4096 characters.
            blocked_on: what the work waits for, at most 64 entries.
            next_action: what comes next, at most 4096 characters.
        """
        request = pb2.ReportProgressRequest(
            swarm_id=swarm_id,
            task_id=task_id,
            attempt=attempt,
            milestone_percent=milestone_percent,
            note=note,
            blocked_on=blocked_on,
            next_action=next_action,
        )
        return (await self._calls.unary(lambda at: at.coordinator.ReportProgress, request)).task

    async def complete(
        self,
        swarm_id: str,
        task_id: str,
        attempt: int,
        result: Mapping[str, Any] | None = None,
        *,
        cost_micros: int = 0,
    ) -> Task:
        """Complete a task for good.

        Args:
            swarm_id: the swarm that holds the task.
            task_id: the task.
            attempt: the attempt of the claim.
            result: what was produced, at most 256 KiB.
            cost_micros: what it cost, in micro-US-dollars.
        """
        request = pb2.CompleteTaskRequest(
            swarm_id=swarm_id, task_id=task_id, attempt=attempt, cost_micros=cost_micros
        )
        if result is not None:
            request.result.CopyFrom(to_struct(result))
        return (await self._calls.unary(lambda at: at.coordinator.CompleteTask, request)).task

    async def fail(
        self,
        swarm_id: str,
        task_id: str,
        attempt: int,
        reason: str,
        *,
        permanent: bool = False,
        provider: Provider | None = None,
        retry_time: datetime | None = None,
    ) -> Task:
        """End an attempt without a result; the task's retry policy decides what follows.

        Args:
            swarm_id: the swarm that holds the task.
            task_id: the task.
            attempt: the attempt of the claim.
            reason: why, at most 4096 characters.
            permanent: whether no attempt can succeed, so that the task fails for good.
            provider: what the swarm's provider refused it for: then it is not the task's failure.
            retry_time: not to be offered again before this time (with a time zone); when the
                provider has quota again.
        """
        request = pb2.FailTaskRequest(
            swarm_id=swarm_id,
            task_id=task_id,
            attempt=attempt,
            reason=reason,
            kind=failure_kind(permanent=permanent, provider=provider),
        )
        if retry_time is not None:
            request.retry_time.FromDatetime(retry_time)
        return (await self._calls.unary(lambda at: at.coordinator.FailTask, request)).task

    async def report_blocker(
        self,
        swarm_id: str,
        description: str,
        *,
        task_id: str = "",
        attempt: int = 0,
        needs: Iterable[str] = (),
    ) -> Blocker:
        """Tell the orchestrator that a swarm cannot go on, and park the task that it names.

        Args:
            swarm_id: the swarm.
            description: what is wrong, 1 to 4096 characters.
            task_id: the task that it holds and cannot go on with; empty for something else.
            attempt: the attempt of the claim; 0 without a task.
            needs: capabilities that would help, at most 64.
        """
        request = pb2.ReportBlockerRequest(
            swarm_id=swarm_id,
            task_id=task_id,
            attempt=attempt,
            description=description,
            needs=needs,
        )
        return (await self._calls.unary(lambda at: at.coordinator.ReportBlocker, request)).blocker

    async def resolve_blocker(
        self, swarm_id: str, *, task_id: str = "", resolution: str = ""
    ) -> Blocker:
        """Close a blocker and give the parked task back to its holder.

        Args:
            swarm_id: the swarm that is blocked.
            task_id: the blocked task; empty for a blocker without one.
            resolution: what resolved it, at most 4096 characters.
        """
        request = pb2.ResolveBlockerRequest(
            swarm_id=swarm_id, task_id=task_id, resolution=resolution
        )
        return (await self._calls.unary(lambda at: at.coordinator.ResolveBlocker, request)).blocker
