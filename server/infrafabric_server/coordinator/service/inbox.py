"""What a session says: each frame checked and handed to its use case, in order per task."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

import structlog

from infrafabric.v1 import session_client_pb2 as pb
from infrafabric_server.coordinator.background import Background
from infrafabric_server.coordinator.coordinator import Coordinator
from infrafabric_server.coordinator.frames import (
    Accepted,
    Answer,
    CostTracked,
    Created,
    Reply,
    StatusAnswer,
)
from infrafabric_server.coordinator.link import SessionLink
from infrafabric_server.coordinator.service import parse
from infrafabric_server.edge import validate
from infrafabric_server.edge.error_table import as_refusal
from infrafabric_server.edge.struct_json import struct_to_json
from infrafabric_server.edge.times import from_timestamp
from infrafabric_server.errors import FabricError, Reason
from infrafabric_server.governor.service.budgets import spent_of
from infrafabric_server.store.second_look import second_look

# Frames of one session that are worked on at the same time; more wait unread.
MAX_IN_FLIGHT = 256

_log = structlog.get_logger(__name__)


class StatusPort(Protocol):
    """Where status frames go; the notify component answers them."""

    async def __call__(self, swarm_id: str, frame: pb.StatusFrame) -> StatusAnswer:
        """Take a status report that came down the swarm's session."""
        ...


class Inbox:
    """The frames of one session. Frames about one task keep their order, others overlap.

    Work on a frame goes on when the stream is cut: what was asked for is decided to its end.
    """

    def __init__(
        self,
        coordinator: Coordinator,
        link: SessionLink,
        report_status: StatusPort,
        background: Background,
    ) -> None:
        self._coordinator = coordinator
        self._link = link
        self._report_status = report_status
        self._background = background
        self._room = asyncio.Semaphore(MAX_IN_FLIGHT)
        self._tasks: set[asyncio.Task[None]] = set()
        self._last: dict[str, asyncio.Task[None]] = {}
        self._handlers: dict[str, Callable[[pb.ClientFrame], Awaitable[Answer | None]]] = {
            "heartbeat": self._heartbeat,
            "status": self._status,
            "create": self._create,
            "claim": self._claim,
            "decline": self._decline,
            "progress": self._progress,
            "complete": self._complete,
            "fail": self._fail,
            "release": self._release,
            "blocker": self._blocker,
            "cost": self._cost,
            "ack": self._ack,
            "credit": self._credit,
            "close": self._close,
        }

    async def put(self, frame: pb.ClientFrame) -> None:
        """Start work on a frame; waits while too many are in flight.

        Raises SESSION_PROTOCOL for a second `open` and for a frame without content.
        """
        kind = frame.WhichOneof("frame")
        if kind is None or kind == "open":
            raise FabricError(
                Reason.SESSION_PROTOCOL,
                "`open` may come only once, as the first frame"
                if kind
                else "a frame must say something: set one of its fields",
            )
        if kind == "close":
            await self.settled()
        await self._room.acquire()
        keys = _order_keys(frame, kind)
        before = {self._last[key] for key in keys if key in self._last}
        task = self._background.start(self._work(frame, kind, before))
        self._tasks.add(task)
        self._last.update(dict.fromkeys(keys, task))
        task.add_done_callback(lambda done: self._forget(keys, done))

    async def settled(self) -> None:
        """Return when all frames so far were worked on."""
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _forget(self, keys: list[str], task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        for key in keys:
            if self._last.get(key) is task:
                del self._last[key]

    async def _work(
        self, frame: pb.ClientFrame, kind: str, before: set[asyncio.Task[None]]
    ) -> None:
        try:
            if before:
                await asyncio.wait(before)
            answer = await self._answer(frame, kind)
        finally:
            self._room.release()
        if answer is not None and (frame.request_id or isinstance(answer, Exception)):
            self._link.send(Reply(frame.request_id, answer))
        if kind == "close" and not isinstance(answer, Exception):
            self._link.finish()

    async def _answer(self, frame: pb.ClientFrame, kind: str) -> Answer | None:
        try:
            if kind != "heartbeat":
                self._coordinator.sessions.heard(self._link)
            validate.request_id("request_id", frame.request_id)
            handler = self._handlers[kind]
            catch_up = self._coordinator.records.mirror.catch_up
            return await second_look(lambda: handler(frame), catch_up)
        except Exception as error:  # noqa: BLE001  # becomes the answer to the frame
            if as_refusal(error) is None:
                _log.exception("frame_failed", kind=kind, swarm_id=self._link.swarm_id)
            return error

    async def _heartbeat(self, _frame: pb.ClientFrame) -> None:
        self._coordinator.sessions.beat(self._link)

    async def _status(self, frame: pb.ClientFrame) -> Answer:
        return await self._report_status(self._link.swarm_id, frame.status)

    async def _create(self, frame: pb.ClientFrame) -> Answer:
        now = self._coordinator.records.clock.now()
        new = parse.new_tasks(frame.create.tasks, frame.request_id, now)
        tasks = await self._coordinator.creation.create(new, frame.request_id)
        return Created(tuple(task.task_id for task in tasks))

    async def _claim(self, frame: pb.ClientFrame) -> Answer:
        task_id = validate.require_id("claim.task_id", frame.claim.task_id)
        link = self._link
        with link.claims(task_id):
            outcome = await self._coordinator.claims.claim(link.swarm_id, task_id, link.epoch)
        self._coordinator.placing.offer_answered(link, task_id)
        return outcome

    async def _decline(self, frame: pb.ClientFrame) -> Answer:
        said = frame.decline
        attempt = said.attempt
        if attempt:
            validate.require_attempt("decline.attempt", attempt)
        validate.require_text("decline.reason", said.reason)
        with self._link.ending(said.task_id):
            return await self._coordinator.placing.decline(
                self._link, validate.require_id("decline.task_id", said.task_id), attempt
            )

    async def _progress(self, frame: pb.ClientFrame) -> Answer:
        said = frame.progress
        return await self._coordinator.claims.progress(
            *self._claim_of("progress", said),
            percent=parse.milestone("progress.milestone_percent", said.milestone_percent),
            note=validate.require_text("progress.note", said.note),
            blocked_on=parse.waits_for("progress.blocked_on", said.blocked_on),
            next_action=validate.require_text("progress.next_action", said.next_action),
            request_id=frame.request_id,
            epoch=self._link.epoch,
        )

    async def _complete(self, frame: pb.ClientFrame) -> Answer:
        said = frame.complete
        with self._link.ending(said.task_id):
            return await self._coordinator.claims.complete(
                *self._claim_of("complete", said),
                result_json=struct_to_json("complete.result", said.result),
                cost_micros=validate.require_money("complete.cost_micros", said.cost_micros),
                epoch=self._link.epoch,
            )

    async def _fail(self, frame: pb.ClientFrame) -> Answer:
        said = frame.fail
        retry_time = None
        if said.HasField("retry_time"):
            retry_time = from_timestamp("fail.retry_time", said.retry_time)
        with self._link.ending(said.task_id):
            return await self._coordinator.claims.fail(
                *self._claim_of("fail", said),
                reason=validate.require_text("fail.reason", said.reason),
                kind=parse.failure_kind("fail.kind", said.kind),
                retry_time=retry_time,
                epoch=self._link.epoch,
            )

    async def _release(self, frame: pb.ClientFrame) -> Answer:
        said = frame.release
        with self._link.ending(said.task_id):
            return await self._coordinator.claims.release(
                *self._claim_of("release", said),
                validate.require_text("release.reason", said.reason),
                self._link.epoch,
            )

    async def _blocker(self, frame: pb.ClientFrame) -> Answer:
        said = frame.blocker
        report = parse.blocker_report(
            "blocker.", said.task_id, said.attempt, said.description, said.needs, frame.request_id
        )
        return await self._coordinator.blocking.report(
            self._link.swarm_id, report, self._link.epoch
        )

    async def _cost(self, frame: pb.ClientFrame) -> Answer:
        spent = spent_of("cost.", self._link.swarm_id, frame.cost)
        left = await self._coordinator.costs.track(spent, frame.request_id, self._link.epoch)
        return CostTracked(self._coordinator.costs.available(self._link.swarm_id), left)

    async def _ack(self, frame: pb.ClientFrame) -> Answer:
        said = frame.ack
        self._coordinator.sessions.acknowledge(
            self._link,
            validate.require_id("ack.task_id", said.task_id),
            validate.require_attempt("ack.attempt", said.attempt),
        )
        return Accepted()

    async def _credit(self, frame: pb.ClientFrame) -> Answer:
        tasks = validate.require_int("credit.tasks", frame.credit.tasks, 1, 1000)
        self._coordinator.sessions.add_credit(self._link, tasks)
        return Accepted()

    async def _close(self, frame: pb.ClientFrame) -> Answer:
        reason = validate.require_text("close.reason", frame.close.reason, most=256)
        await self._coordinator.sessions.close(self._link, reason)
        return Accepted()

    def _claim_of(
        self,
        kind: str,
        said: pb.ProgressFrame | pb.CompleteFrame | pb.FailFrame | pb.ReleaseFrame,
    ) -> tuple[str, str, int]:
        return (
            self._link.swarm_id,
            validate.require_id(f"{kind}.task_id", said.task_id),
            validate.require_attempt(f"{kind}.attempt", said.attempt),
        )


def _order_keys(frame: pb.ClientFrame, kind: str) -> list[str]:
    """Return what orders a frame among others: its tasks, or its kind for statuses."""
    if kind in ("heartbeat", "credit"):
        return []
    if kind == "status":
        return ["status"]
    if kind == "create":
        return [f"task:{task.task_id}" for task in frame.create.tasks if task.task_id]
    return [f"task:{getattr(getattr(frame, kind), 'task_id', '')}"]
