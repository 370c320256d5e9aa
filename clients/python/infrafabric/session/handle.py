"""A task that the session holds."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from functools import cached_property
from typing import Any

from infrafabric.errors import StaleAttempt
from infrafabric.failures import Provider, failure_kind
from infrafabric.session.events import TaskLost
from infrafabric.session.exchange import Exchange
from infrafabric.session.guard import Guard
from infrafabric.v1.blocker_pb2 import Blocker
from infrafabric.v1.session_client_pb2 import (
    BlockerFrame,
    ClientFrame,
    CompleteFrame,
    CostFrame,
    FailFrame,
    ProgressFrame,
    ReleaseFrame,
)
from infrafabric.v1.session_server_pb2 import CostReply
from infrafabric.v1.task_pb2 import Task
from infrafabric.values import from_struct, to_struct


class TaskHandle:
    """One claim of a session, from its delivery to its end.

    Every call that changes the claim waits for the fabric's answer, over cuts, and raises
    ClaimVoid when the claim is lost: then nothing that was done for it counts.

    Attributes:
        task: the task as it was delivered.
        revoked: set when the claim is lost; `lost` then says why.
        lost: why the claim was lost; None while it is held.
    """

    def __init__(
        self, task: Task, exchange: Exchange, bring_again: Callable[["TaskHandle"], None]
    ) -> None:
        self.task = task
        self.revoked = asyncio.Event()
        self.lost: TaskLost | None = None
        self._exchange = exchange
        self._guards: set[Guard] = set()
        self._bring_again = bring_again
        self._unblocked = asyncio.Event()
        self._blocking = 0
        self._waiting = 0
        # Whether somebody who waited was told that the last blocker is resolved.
        self._told = False

    def __repr__(self) -> str:
        return f"<TaskHandle {self.task_id} attempt {self.attempt}>"

    @property
    def task_id(self) -> str:
        """Id of the task."""
        return self.task.task_id

    @property
    def attempt(self) -> int:
        """Number of the claim; every message about it carries it."""
        return self.task.attempt

    @cached_property
    def input(self) -> dict[str, Any]:
        """What the creator gave to the worker; numbers without a fraction are `int`."""
        return from_struct(self.task.input)

    async def progress(
        self,
        milestone_percent: int,
        note: str = "",
        *,
        blocked_on: Iterable[str] = (),
        next_action: str = "",
    ) -> None:
        """Report a milestone; without a connection it is kept and sent later.

        Of milestones that wait, only the last one is sent.

        Args:
            milestone_percent: 0, 25, 50, 75 or 100.
            note: what was reached, at most 4096 characters.
            blocked_on: what the work waits for, at most 64 entries.
            next_action: what comes next, at most 4096 characters.

        Raises:
            ClaimVoid: the claim is lost.
            InvalidField: an argument breaks its rule.
        """
        frame = ProgressFrame(
            task_id=self.task_id,
            attempt=self.attempt,
            milestone_percent=milestone_percent,
            note=note,
            blocked_on=blocked_on,
            next_action=next_action,
        )
        subject = f"progress/{self.task_id}/{self.attempt}"
        await self._exchange.report(ClientFrame(progress=frame), subject)

    async def complete(
        self, result: Mapping[str, Any] | None = None, *, cost_micros: int = 0
    ) -> None:
        """Complete the task for good.

        Args:
            result: what was produced, as JSON would say it, at most 256 KiB.
            cost_micros: what this attempt cost altogether, in micro-US-dollars; what `cost` has
                reported of it is not charged again.

        Raises:
            ClaimVoid: the claim is lost.
            InvalidField: an argument breaks its rule; the claim is still held.
            ValueError: the result holds something that JSON cannot say.
        """
        frame = CompleteFrame(task_id=self.task_id, attempt=self.attempt, cost_micros=cost_micros)
        if result is not None:
            frame.result.CopyFrom(to_struct(result))
        await self._exchange.decide(ClientFrame(complete=frame))

    async def cost(self, operation: str, micros: int) -> CostReply:
        """Report what something cost while the task runs; charged once, over cuts too.

        Args:
            operation: what for, such as `llm.completion`.
            micros: how much, in micro-US-dollars, 1 to 10^12.

        Returns:
            What the swarm's account and the task's reservation have left.

        Raises:
            ClaimVoid: the claim is lost.
            InvalidField: an argument breaks its rule.
        """
        frame = CostFrame(
            operation=operation, cost_micros=micros, task_id=self.task_id, attempt=self.attempt
        )
        return (await self._exchange.decide(ClientFrame(cost=frame))).cost

    async def fail(
        self,
        reason: str,
        *,
        permanent: bool = False,
        provider: Provider | None = None,
        retry_time: datetime | None = None,
    ) -> None:
        """End this attempt without a result; the task's retry policy decides what follows.

        Args:
            reason: why, at most 4096 characters.
            permanent: whether no attempt can succeed, so that the task fails for good.
            provider: what the swarm's provider refused it for. Then it is not the task's failure:
                others may have the task at once, and this swarm's credential pool rests.
            retry_time: not to be offered again before this time (with a time zone); when the
                provider has quota again.

        Raises:
            ClaimVoid: the claim is lost.
            InvalidField: an argument breaks its rule; the claim is still held.
        """
        kind = failure_kind(permanent=permanent, provider=provider)
        frame = FailFrame(task_id=self.task_id, attempt=self.attempt, reason=reason, kind=kind)
        if retry_time is not None:
            frame.retry_time.FromDatetime(retry_time)
        await self._exchange.decide(ClientFrame(fail=frame))

    async def release(self, reason: str = "") -> None:
        """Give the task back, for others to claim.

        Args:
            reason: why, at most 4096 characters.

        Raises:
            ClaimVoid: the claim is lost.
            InvalidField: an argument breaks its rule; the claim is still held.
        """
        frame = ReleaseFrame(task_id=self.task_id, attempt=self.attempt, reason=reason)
        await self._exchange.decide(ClientFrame(release=frame))

    async def block(self, description: str, needs: Iterable[str] = ()) -> Blocker:
        """Tell the orchestrator that the task cannot go on, and park it.

        Its slot is free from now on and may bring a filler. When the blocker is resolved,
        `unblocked` returns; when nobody waits there, the session brings this handle again.

        Args:
            description: what is wrong, 1 to 4096 characters.
            needs: capabilities that would help, at most 64.

        Raises:
            ClaimVoid: the claim is lost.
            InvalidField: an argument breaks its rule.
        """
        self._unblocked.clear()
        self._told = False
        frame = BlockerFrame(
            task_id=self.task_id, attempt=self.attempt, description=description, needs=needs
        )
        self._blocking += 1
        try:
            reply = await self._exchange.decide(ClientFrame(blocker=frame))
        finally:
            self._blocking -= 1
            if self._unblocked.is_set():
                # Resolved before the caller knew that it was reported: it goes on first, and
                # may wait at once.
                asyncio.get_running_loop().call_soon(self._come_back)
        return reply.blocker

    async def unblocked(self) -> None:
        """Return when the blocker of the task is resolved.

        Raises:
            StaleAttempt: the claim was lost instead.
        """
        self._waiting += 1
        try:
            await self._unblocked.wait()
        finally:
            self._waiting -= 1
        self._told = True
        self._check()

    @asynccontextmanager
    async def guard(self) -> AsyncIterator[None]:
        """Cancel the block when the claim is lost, and go on after it.

        For example::

            async with task.guard():
                result = await work(task.input)
                await task.complete(result)
            if task.revoked.is_set():
                ...  # the task belongs to somebody else, or to nobody, now

        Raises:
            StaleAttempt: the claim was lost before the block began.
        """
        self._check()
        guard = Guard()
        self._guards.add(guard)
        try:
            async with guard:
                yield
        finally:
            self._guards.discard(guard)

    def revoke(self, lost: TaskLost) -> None:
        """Note that the claim is lost (for the session)."""
        self.lost = lost
        self.revoked.set()
        self._unblocked.set()
        for guard in self._guards:
            guard.trip()

    def resume(self) -> None:
        """Note that the blocker is resolved (for the session)."""
        self._unblocked.set()
        self._come_back()

    def _come_back(self) -> None:
        if not (self._blocking or self._waiting or self._told or self.lost):
            self._bring_again(self)

    def _check(self) -> None:
        if self.lost is not None:
            raise StaleAttempt(f"the claim on {self.task_id} is lost: {self.lost.detail}")
