"""Python sessions and their tasks, for the tests of sessions on a real server."""

from infrafabric import Client, Session, TaskHandle
from infrafabric.v1.task_pb2 import DISPATCH_AUTO, Dispatch, Task
from infrafabric.v1.witness_service_pb2 import QueryEntriesRequest


def worker(target: str, *capabilities: str, slots: int = 1, swarm_id: str = "w1") -> Session:
    return Session(target, swarm_id=swarm_id, capabilities=capabilities or ("a",), slots=slots)


async def create(
    client: Client, *task_ids: str, dispatch: Dispatch.ValueType = DISPATCH_AUTO
) -> None:
    await client.tasks.create_all(
        Task(task_id=task_id, title=task_id, required_capabilities=["a"], dispatch=dispatch)
        for task_id in task_ids
    )


async def given(client: Client, session: Session, task_id: str = "t1") -> TaskHandle:
    """Create a task and return what reaches the session of it."""
    await session.opened()
    await create(client, task_id)
    return await anext(session)


async def completions(client: Client) -> dict[str, int]:
    """Return how often each task was completed, from the record of decisions."""
    counts: dict[str, int] = {}
    filters = QueryEntriesRequest(operation="task_completed")
    async for entry in client.witness.query(filters):
        counts[entry.task_id] = counts.get(entry.task_id, 0) + 1
    return counts
