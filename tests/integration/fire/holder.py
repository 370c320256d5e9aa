"""A worker as its own process: takes one task, waits for a line, and speaks for it then.

It prints a line of JSON for each thing that happens; the test reads them, and stops the
process in between.
"""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable

from infrafabric import Client, Session, TaskHandle, errors


def tell(**what: object) -> None:
    """Print one line."""
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


async def line() -> None:
    """Return when the test has written a line."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    await reader.readline()


def late(
    client: Client, swarm_id: str, task: TaskHandle
) -> dict[str, Callable[[], Awaitable[object]]]:
    """Return everything that a holder can say about its claim by calls."""
    claim = (swarm_id, task.task_id, task.attempt)
    return {
        "progress": lambda: client.claims.progress(*claim, 50),
        "extend": lambda: client.claims.extend(*claim),
        "block": lambda: client.claims.report_blocker(
            swarm_id, "stuck", task_id=task.task_id, attempt=task.attempt
        ),
        "release": lambda: client.claims.release(*claim),
        "fail": lambda: client.claims.fail(*claim, "too late"),
        "complete": lambda: client.claims.complete(*claim, {"by": "the wrong one"}),
    }


async def main(target: str, swarm_id: str) -> None:
    """Hold a task and speak for it when the line has come."""
    async with Session(target, swarm_id=swarm_id, capabilities=["a"]) as session:
        task = await anext(session)
        tell(event="holding", task_id=task.task_id, attempt=task.attempt)
        await line()
        try:
            await task.complete({"by": "the wrong one"})
        except errors.FabricError as error:
            tell(event="session", error=type(error).__name__)
        else:
            tell(event="session", error="")
        async with Client(target) as client:
            for name, call in late(client, swarm_id, task).items():
                try:
                    await call()
                except errors.FabricError as error:
                    tell(event=name, error=type(error).__name__)
                else:
                    tell(event=name, error="")
        tell(event="end", revoked=task.revoked.is_set())


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
