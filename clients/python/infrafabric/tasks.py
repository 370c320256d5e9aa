"""Calls about tasks: create, read, watch, call off, offer."""

from collections.abc import AsyncIterator, Iterable

from infrafabric.calls import Caller
from infrafabric.v1 import coordinator_task_pb2 as pb2
from infrafabric.v1.task_pb2 import Task, TaskState


class Tasks:
    """Tasks, as CoordinatorService knows them.

    Every method may raise the FabricErrors that its RPC lists.
    """

    def __init__(self, calls: Caller) -> None:
        self._calls = calls

    async def create(self, task: Task, *, request_id: str = "") -> Task:
        """Create a task; return it as it is then, claimed already if a swarm was free.

        Args:
            task: the task; its output-only fields are ignored.
            request_id: makes a repeat harmless for 24 hours; may be empty.
        """
        request = pb2.CreateTaskRequest(task=task, request_id=request_id)
        return (await self._calls.unary(lambda at: at.coordinator.CreateTask, request)).task

    async def create_all(self, tasks: Iterable[Task], *, request_id: str = "") -> tuple[Task, ...]:
        """Create a board, all or nothing; return its tasks in the same order.

        Args:
            tasks: 1 to 1000 tasks of at most 3 MiB together, which may depend on one another.
            request_id: makes a repeat harmless for 24 hours; may be empty.
        """
        request = pb2.CreateTasksRequest(tasks=tasks, request_id=request_id)
        return tuple(
            (await self._calls.unary(lambda at: at.coordinator.CreateTasks, request)).tasks
        )

    async def get(self, task_id: str) -> Task:
        """Return a task."""
        request = pb2.GetTaskRequest(task_id=task_id)
        return (await self._calls.unary(lambda at: at.coordinator.GetTask, request)).task

    async def list(
        self, *, states: Iterable[TaskState.ValueType] = (), owner_swarm_id: str = ""
    ) -> AsyncIterator[Task]:
        """Iterate over tasks by id, page by page.

        Args:
            states: only tasks in one of these; empty means all.
            owner_swarm_id: only tasks held by this swarm; empty means all.
        """
        request = pb2.ListTasksRequest(states=states, owner_swarm_id=owner_swarm_id)
        async for page in self._calls.pages(lambda at: at.coordinator.ListTasks, request):
            for task in page.tasks:
                yield task

    def watch(self, after_cursor: str = "") -> AsyncIterator[pb2.TaskEvent]:
        """Iterate over a snapshot and then every change, over cuts, without end.

        Args:
            after_cursor: cursor of the last event that was handled; empty for a snapshot.
        """
        return self._calls.watch(
            lambda at: at.coordinator.WatchTasks,
            lambda cursor: pb2.WatchTasksRequest(after_cursor=cursor),
            lambda response: response.events,
            after_cursor,
        )

    async def cancel(self, task_id: str, reason: str = "") -> Task:
        """Call a task off, and with it every task that depends on it.

        Args:
            task_id: the task.
            reason: why, at most 4096 characters.
        """
        request = pb2.CancelTaskRequest(task_id=task_id, reason=reason)
        return (await self._calls.unary(lambda at: at.coordinator.CancelTask, request)).task

    async def push(self, swarm_id: str, task_id: str) -> Task:
        """Offer an available task to one swarm, which alone may then claim it."""
        request = pb2.PushTaskRequest(swarm_id=swarm_id, task_id=task_id)
        return (await self._calls.unary(lambda at: at.coordinator.PushTask, request)).task

    async def broadcast(self, task_id: str) -> pb2.BroadcastTaskResponse:
        """Offer an available task to every qualified swarm that has a session."""
        request = pb2.BroadcastTaskRequest(task_id=task_id)
        return await self._calls.unary(lambda at: at.coordinator.BroadcastTask, request)

    async def assign(self, task_id: str) -> pb2.AssignTaskResponse:
        """Claim an available task for the best swarm that has a session."""
        request = pb2.AssignTaskRequest(task_id=task_id)
        return await self._calls.unary(lambda at: at.coordinator.AssignTask, request)
