"""The calls about tasks: creating, reading, placing and calling off."""

from collections.abc import AsyncIterator

from infrafabric.v1 import coordinator_task_pb2 as pb
from infrafabric.v1 import task_pb2, watch_pb2
from infrafabric.v1.coordinator_service_pb2_grpc import CoordinatorServiceServicer
from infrafabric_server.coordinator.coordinator import Coordinator
from infrafabric_server.coordinator.models import Task
from infrafabric_server.coordinator.service import parse
from infrafabric_server.coordinator.service.wire import STATES, task_to_wire
from infrafabric_server.edge import validate
from infrafabric_server.edge.batches import batches
from infrafabric_server.edge.calls import Context
from infrafabric_server.edge.paging import next_page_token, page_position
from infrafabric_server.errors import FabricError, FieldViolation, InvalidField, Reason
from infrafabric_server.governor.service.matching import counts_to_wire
from infrafabric_server.limits import MAX_BOARD_BYTES, MAX_MODEL
from infrafabric_server.store.feed import Changes, Feed, Gap, Snapshot

# Events of one message of a watch; a snapshot of large tasks is cut by size as well.
_EVENTS = 256

_STATES = {wire: state for state, wire in STATES.items()}


class TaskCalls(CoordinatorServiceServicer):
    """Creating, getting, listing, watching, placing and cancelling tasks."""

    coordinator: Coordinator
    task_feed: Feed

    async def CreateTask(
        self,
        request: pb.CreateTaskRequest,
        context: Context,
    ) -> pb.CreateTaskResponse:
        """Create one task."""
        try:
            created = await self._create([request.task], request.request_id)
        except FabricError as error:
            raise _about_one(error) from None
        return pb.CreateTaskResponse(task=task_to_wire(created[0]))

    async def CreateTasks(
        self,
        request: pb.CreateTasksRequest,
        context: Context,
    ) -> pb.CreateTasksResponse:
        """Create a board, all or nothing."""
        # The answer is longer, and must fit a message of 4 MiB.
        if request.ByteSize() > MAX_BOARD_BYTES:
            rule = f"must take at most {MAX_BOARD_BYTES} bytes; split the board"
            raise InvalidField(FieldViolation("tasks", rule))
        created = await self._create(list(request.tasks), request.request_id)
        return pb.CreateTasksResponse(tasks=[task_to_wire(task) for task in created])

    async def _create(self, messages: list[task_pb2.Task], request_id: str) -> tuple[Task, ...]:
        validate.optional_id("request_id", request_id)
        validate.require_text("request_id", request_id, most=MAX_MODEL)
        now = self.coordinator.records.clock.now()
        new = parse.new_tasks(messages, request_id, now)
        return await self.coordinator.background.finish(
            self.coordinator.creation.create(new, request_id)
        )

    async def GetTask(self, request: pb.GetTaskRequest, context: Context) -> pb.GetTaskResponse:
        """Return one task, archived ones included."""
        task_id = validate.require_id("task_id", request.task_id)
        task = await self.coordinator.records.find(task_id)
        if task is None:
            raise FabricError(Reason.TASK_NOT_FOUND, f"no task has the id {task_id}")
        return pb.GetTaskResponse(task=task_to_wire(task))

    async def ListTasks(
        self,
        request: pb.ListTasksRequest,
        context: Context,
    ) -> pb.ListTasksResponse:
        """Return a page of tasks, by id, archived ones included."""
        for index, state in enumerate(request.states):
            if state not in _STATES:
                rule = "must be a known TaskState"
                raise InvalidField(FieldViolation(f"states[{index}]", rule))
        states = {_STATES[state] for state in request.states}
        owner = validate.optional_id("owner_swarm_id", request.owner_swarm_id)
        size = validate.page_size(request.page_size)
        response = pb.ListTasksResponse()
        room = MAX_BOARD_BYTES
        async for task in self.coordinator.records.all_tasks(page_position(request)):
            if states and task.state not in states:
                continue
            if owner and (task.claim is None or task.claim.swarm_id != owner):
                continue
            message = task_to_wire(task)
            room -= message.ByteSize()
            if response.tasks and (len(response.tasks) == size or room < 0):
                last = response.tasks[-1].task_id
                response.next_page_token = next_page_token(request, last)
                break
            response.tasks.append(message)
        return response

    async def WatchTasks(
        self,
        request: pb.WatchTasksRequest,
        context: Context,
    ) -> AsyncIterator[pb.WatchTasksResponse]:
        """Send a snapshot and then each change."""
        after = validate.cursor("after_cursor", request.after_cursor)
        async for item in self.task_feed.follow(after):
            parts = list(batches(_events(item), most=_EVENTS))
            for events in parts[:-1]:
                # Whoever is cut here has not seen all that happened together: no cursor yet.
                for event in events:
                    event.ClearField("cursor")
                yield pb.WatchTasksResponse(events=events)
            for events in parts[-1:]:
                yield pb.WatchTasksResponse(events=events)

    async def CancelTask(
        self,
        request: pb.CancelTaskRequest,
        context: Context,
    ) -> pb.CancelTaskResponse:
        """Call a task off."""
        task = await self.coordinator.background.finish(
            self.coordinator.endings.cancel(
                validate.require_id("task_id", request.task_id),
                validate.require_text("reason", request.reason),
            )
        )
        return pb.CancelTaskResponse(task=task_to_wire(task))

    async def PushTask(self, request: pb.PushTaskRequest, context: Context) -> pb.PushTaskResponse:
        """Offer a task to one swarm."""
        swarm_id = validate.require_id("swarm_id", request.swarm_id)
        task_id = validate.require_id("task_id", request.task_id)
        task = await self.coordinator.background.finish(
            self.coordinator.push_task_to_swarm(swarm_id, task_id)
        )
        return pb.PushTaskResponse(task=task_to_wire(task))

    async def BroadcastTask(
        self,
        request: pb.BroadcastTaskRequest,
        context: Context,
    ) -> pb.BroadcastTaskResponse:
        """Offer a task to all that qualify."""
        task_id = validate.require_id("task_id", request.task_id)
        result = await self.coordinator.background.finish(
            self.coordinator.placing.broadcast(task_id)
        )
        return pb.BroadcastTaskResponse(offered=result.offered, task=task_to_wire(result.task))

    async def AssignTask(
        self,
        request: pb.AssignTaskRequest,
        context: Context,
    ) -> pb.AssignTaskResponse:
        """Claim a task for the best swarm."""
        task_id = validate.require_id("task_id", request.task_id)
        placed = await self.coordinator.background.finish(self.coordinator.placing.assign(task_id))
        response = pb.AssignTaskResponse(task=task_to_wire(placed.task))
        if placed.match is not None:
            response.swarm_id = placed.match.swarm_id
            response.match = placed.match.match
            response.score = placed.match.score
        response.exclusion_counts.extend(counts_to_wire(placed.exclusion_counts))
        return response


def _about_one(error: FabricError) -> FabricError:
    """Return a refusal of a board of one task as one of that task."""
    fields = [FieldViolation(v.field.replace("tasks[0]", "task", 1), v.rule) for v in error.fields]
    return FabricError(
        error.reason,
        error.message.replace("tasks[0]", "task", 1),
        fields=fields,
        retry_after=error.retry_after,
    )


def _events(item: Snapshot | Changes | Gap) -> list[pb.TaskEvent]:
    match item:
        case Snapshot():
            entries = item.entries["tasks/"]
            tasks = [entry.value for entry in entries if isinstance(entry.value, Task)]
            events = [pb.TaskEvent(snapshot=task_to_wire(task)) for task in tasks]
            end = watch_pb2.SnapshotEnd(count=len(entries))
            return [*events, pb.TaskEvent(cursor=str(item.revision), snapshot_end=end)]
        case Changes():
            cursor = str(item.revision)
            return [
                pb.TaskEvent(cursor=cursor, changed=task_to_wire(update.value))
                for update in item.updates
                if isinstance(update.value, Task)
            ]
        case Gap():
            return [pb.TaskEvent(gap=watch_pb2.Gap(oldest_cursor=str(item.oldest)))]
