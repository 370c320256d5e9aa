"""The Python library as a subject of the scenario: commands come in as lines, events go out.

A command is `{"id": 1, "session": "a", "do": "create", ...}` and is answered with
`{"id": 1, "value": ...}` or `{"id": 1, "error": "..."}`; an event is `{"session": "a",
"event": "task", ...}`.
"""

import asyncio
import json
import sys
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from infrafabric import Client, FabricError, Session, SessionOptions, TaskHandle
from infrafabric.v1.help_pb2 import HelpState
from infrafabric.v1.session_client_pb2 import SESSION_ROLE_ORCHESTRATOR, SESSION_ROLE_WORKER
from infrafabric.v1.status_pb2 import Status
from infrafabric.v1.task_pb2 import Task

Command = dict[str, Any]


def say(**line: Any) -> None:
    """Write one line."""
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


class Subject:
    """One session, and the tasks that it holds."""

    def __init__(self, command: Command) -> None:
        self._name = command["session"]
        role = SESSION_ROLE_ORCHESTRATOR if command["supervises"] else SESSION_ROLE_WORKER
        self._session = Session(
            command["server"],
            swarm_id=command["session"],
            capabilities=command["capabilities"],
            slots=command["slots"],
            role=role,
            on_offer=lambda task: not task.task_id.startswith("unwanted"),
            options=SessionOptions(window=command["window"]),
        )
        self._tasks: dict[str, TaskHandle] = {}
        self._listeners: list[asyncio.Task[None]] = []

    async def open(self, _command: Command) -> None:
        await self._session.__aenter__()
        await self._session.opened()
        listening = (self._work(), self._hear(), self._watch(), self._heed(), self._offer())
        self._listeners = [asyncio.create_task(each) for each in listening]

    async def _work(self) -> None:
        with suppress(FabricError):
            async for task in self._session:
                self._hold(task)

    def _hold(self, task: TaskHandle) -> None:
        self._tasks[task.task_id] = task
        say(session=self._name, event="task", task_id=task.task_id, attempt=task.attempt)
        self._listeners.append(asyncio.create_task(self._mourn(task)))

    async def _mourn(self, task: TaskHandle) -> None:
        await task.revoked.wait()
        say(session=self._name, event="lost", task_id=task.task_id, attempt=task.attempt)

    async def _hear(self) -> None:
        async for message in self._session.broadcasts():
            say(session=self._name, event="broadcast", message=message.message)

    async def _watch(self) -> None:
        async for blocker in self._session.alerts():
            resolved = blocker.HasField("resolve_time")
            say(session=self._name, event="alert", task_id=blocker.task_id, resolved=resolved)

    async def _heed(self) -> None:
        async for halt in self._session.halts():
            say(session=self._name, event="halt", detail=halt.breaker.detail)

    async def _offer(self) -> None:
        async for wanted in self._session.help_wanted():
            state = HelpState.Name(wanted.state)
            asked = self._name in wanted.asked_swarm_ids
            say(session=self._name, event="help", task_id=wanted.task_id, state=state, asked=asked)

    async def status(self, command: Command) -> None:
        status = Status.Value(f"STATUS_{command['status'].upper()}")
        await self._session.status(status, message=command["message"])

    async def create(self, command: Command) -> list[str]:
        tasks = [
            Task(task_id=name, required_capabilities=command["capabilities"])
            for name in command["task_ids"]
        ]
        return await self._session.create(tasks)

    async def claim(self, command: Command) -> bool:
        outcome = await self._session.claim(command["task_id"])
        if outcome.task is not None:
            self._hold(outcome.task)
        return outcome.task is not None

    async def progress(self, command: Command) -> None:
        await self._tasks[command["task_id"]].progress(command["percent"], "on the way")

    async def cost(self, command: Command) -> None:
        await self._tasks[command["task_id"]].cost(command["operation"], command["micros"])

    async def accept(self, command: Command) -> bool:
        async with Client(command["server"]) as client:
            return (await client.help.accept(self._name, command["help_id"])).accepted

    async def charge(self, command: Command) -> int:
        cost = command["operation"], command["micros"]
        reply = await self._session.cost(*cost, help_id=command["help_id"])
        return reply.reservation_left_micros

    async def complete(self, command: Command) -> None:
        await self._tasks[command["task_id"]].complete({"answer": 42})

    async def fail(self, command: Command) -> None:
        await self._tasks[command["task_id"]].fail("it cannot be done", permanent=True)

    async def release(self, command: Command) -> None:
        await self._tasks[command["task_id"]].release("not mine")

    async def block(self, command: Command) -> None:
        task = self._tasks[command["task_id"]]
        await task.block("no key")
        await task.unblocked()

    async def close(self, _command: Command) -> None:
        await self._session.__aexit__(None, None, None)
        for listener in self._listeners:
            listener.cancel()


async def obey(subject: Subject, command: Command) -> None:
    """Carry one command out and answer it."""
    do: Callable[[Command], Coroutine[Any, Any, Any]] = getattr(subject, command["do"])
    try:
        say(id=command["id"], value=await do(command))
    except Exception as error:  # noqa: BLE001  # handed on to the test
        say(id=command["id"], error=repr(error))


async def main() -> None:
    """Carry out commands, side by side, until standard input ends."""
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    subjects: dict[str, Subject] = {}
    async with asyncio.TaskGroup() as group:
        while line := await lines.readline():
            command = json.loads(line)
            if command["do"] == "open":
                subjects[command["session"]] = Subject(command)
            group.create_task(obey(subjects[command["session"]], command))


if __name__ == "__main__":
    asyncio.run(main())
