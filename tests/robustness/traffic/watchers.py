"""Those who follow tasks, statuses and the log, over every cut."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, TypeVar

import grpc

from infrafabric import FabricError
from infrafabric.refusals import from_rpc_error
from infrafabric.v1.coordinator_service_pb2_grpc import CoordinatorServiceStub
from infrafabric.v1.coordinator_task_pb2 import TaskEvent, WatchTasksRequest
from infrafabric.v1.notify_service_pb2 import StatusEvent, WatchStatusRequest
from infrafabric.v1.notify_service_pb2_grpc import NotifyServiceStub
from infrafabric.v1.status_pb2 import Status
from infrafabric.v1.task_pb2 import (
    DISPATCH_MANUAL,
    TASK_STATE_AVAILABLE,
    TASK_STATE_BLOCKED,
    TASK_STATE_CLAIMED,
    Task,
)
from infrafabric.v1.witness_service_pb2 import TailEntriesRequest
from infrafabric.v1.witness_service_pb2_grpc import WitnessServiceStub
from tests.robustness.traffic.actor import Actor, World
from tests.robustness.traffic.callers import shown

Message = TypeVar("Message")

_LIVE = (TASK_STATE_BLOCKED, TASK_STATE_AVAILABLE, TASK_STATE_CLAIMED)
# A stream that says nothing for so long may hang on a frozen server: another one is asked.
_SILENCE = 5.0


async def messages(call: grpc.aio.UnaryStreamCall[Any, Message]) -> AsyncGenerator[Message, None]:
    """Yield what a stream brings; its failure is one of ours, and it ends with the iterator."""
    try:
        async for message in call:
            yield message
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error) from error
    finally:
        call.cancel()


class Watcher(Actor, ABC):
    """Reads one stream after another, each from where the one before ended.

    Attributes:
        cursor: where it stands.
    """

    def __init__(self, name: str, world: World) -> None:
        super().__init__(name, world)
        self.cursor = ""

    async def run(self) -> None:
        """Watch until the run is over."""
        watching = asyncio.create_task(self._watch(), name=self.name)
        ended = asyncio.create_task(self.world.over.wait())
        try:
            await asyncio.wait((watching, ended), return_when=asyncio.FIRST_COMPLETED)
        finally:
            watching.cancel()
            ended.cancel()
            await asyncio.wait((watching, ended))
        if not watching.cancelled():
            watching.result()

    async def _watch(self) -> None:
        while True:
            try:
                async with self.channel() as channel, aclosing(self.read(channel)) as messages:
                    while True:
                        async with asyncio.timeout(_SILENCE):
                            message = await anext(messages, None)
                        if message is None:
                            break
                        self.take(message)
            except (FabricError, TimeoutError) as error:
                self.recorder.see(self.name, "watch-cut", why=type(error).__name__)
            await asyncio.sleep(self.chance.uniform(0.02, 0.2))

    @abstractmethod
    def read(self, channel: grpc.aio.Channel) -> AsyncGenerator[Any, None]:
        """Return the messages after the cursor."""

    @abstractmethod
    def take(self, message: Any) -> None:
        """Handle one message."""


class TaskWatcher(Watcher):
    """Follows the tasks.

    Attributes:
        ended: tasks that it has seen to be over.
    """

    def __init__(self, name: str, world: World) -> None:
        super().__init__(name, world)
        self._together: list[Task] = []
        self.ended: set[str] = set()

    def read(self, channel: grpc.aio.Channel) -> AsyncGenerator[Any, None]:
        """Watch from the cursor on."""
        # What had no cursor yet comes again.
        self._together.clear()
        request = WatchTasksRequest(after_cursor=self.cursor)
        return messages(CoordinatorServiceStub(channel).WatchTasks(request))

    def take(self, message: Any) -> None:
        """Note the events of a message."""
        for event in message.events:
            self._event(event)

    def _event(self, event: TaskEvent) -> None:
        match event.WhichOneof("event"):
            case "snapshot":
                self._together.append(event.snapshot)
            case "snapshot_end":
                for task in self._together:
                    self._note("task-snapshot", task)
                self._together.clear()
                self.recorder.see(self.name, "task-snapshot-end", cursor=event.cursor)
            case "changed":
                self._together.append(event.changed)
                if event.cursor:
                    for task in self._together:
                        self._note("task-changed", task, cursor=event.cursor)
                    self._together.clear()
            case "gap":
                self.recorder.see(self.name, "task-gap")
        self.cursor = event.cursor or self.cursor

    def _note(self, kind: str, task: Task, **more: object) -> None:
        self.recorder.see(self.name, kind, **shown(task), **more)
        world = self.world
        if task.state in _LIVE:
            world.open.add(task.task_id)
        else:
            self.ended.add(task.task_id)
            world.open.discard(task.task_id)
        waits = task.state == TASK_STATE_AVAILABLE and task.dispatch == DISPATCH_MANUAL
        (world.manual.add if waits else world.manual.discard)(task.task_id)


class StatusWatcher(Watcher):
    """Follows the statuses and the texts for everyone.

    Attributes:
        texts: that it was told.
    """

    def __init__(self, name: str, world: World) -> None:
        super().__init__(name, world)
        self.texts: set[str] = set()

    def read(self, channel: grpc.aio.Channel) -> AsyncGenerator[Any, None]:
        """Watch from the cursor on."""
        request = WatchStatusRequest(after_cursor=self.cursor)
        return messages(NotifyServiceStub(channel).WatchStatus(request))

    def take(self, message: Any) -> None:
        """Note the events of a message."""
        for event in message.events:
            self._event(event)

    def _event(self, event: StatusEvent) -> None:
        match event.WhichOneof("event"):
            case "snapshot_end":
                self.recorder.see(self.name, "status-snapshot-end", cursor=event.cursor)
            case "changed":
                status = event.changed
                self._changed(
                    event.cursor,
                    what="status",
                    about=status.swarm_id,
                    status=Status.Name(status.status),
                    message=status.message,
                )
            case "removed_swarm_id":
                self._changed(
                    event.cursor,
                    what="status",
                    about=event.removed_swarm_id,
                    status="removed",
                    message="",
                )
            case "broadcast":
                text = event.broadcast.message
                self.texts.add(text)
                self._changed(
                    event.cursor, what="broadcast", about=f"text {text}", status="", message=text
                )
            case "gap":
                self.recorder.see(self.name, "status-gap")
        self.cursor = event.cursor or self.cursor

    def _changed(self, cursor: str, **what: str) -> None:
        self.recorder.see(self.name, "status-changed", cursor=cursor, **what)


class Tail(Watcher):
    """Follows the witness log from its first entry on.

    Attributes:
        sequence: of the last entry that it has seen.
    """

    def __init__(self, name: str, world: World) -> None:
        super().__init__(name, world)
        self.sequence = 0

    def read(self, channel: grpc.aio.Channel) -> AsyncGenerator[Any, None]:
        """Tail from the last entry on."""
        request = TailEntriesRequest(after_sequence=self.sequence)
        return messages(WitnessServiceStub(channel).TailEntries(request))

    def take(self, message: Any) -> None:
        """Note the entries of a message."""
        for entry in message.entries:
            self.sequence = entry.sequence
            self.recorder.see(self.name, "tail", sequence=entry.sequence, hash=entry.hash)
