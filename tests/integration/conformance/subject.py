"""The client library under test, in a process of its own."""

import asyncio
import json
import sys
from collections import defaultdict
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Self

_ROOT = Path(__file__).parents[3]

PROGRAMS = {
    "python": (sys.executable, str(Path(__file__).with_name("python_subject.py"))),
    "typescript": ("node", str(_ROOT / "clients/typescript/test/conformance/subject.mjs")),
}
"""How each subject is started; what they read and write is told in `python_subject`."""

Event = dict[str, Any]

# A result may be long, and so may a line.
_LINE = 1024 * 1024


class Subject:
    """Runs sessions of one client library, by name; the name is also the swarm's id."""

    def __init__(self, library: str) -> None:
        self._program = PROGRAMS[library]
        self._stack = AsyncExitStack()
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._changed = asyncio.Condition()
        self.events: defaultdict[str, list[Event]] = defaultdict(list)

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            *self._program,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=_LINE,
        )
        group = await self._stack.enter_async_context(asyncio.TaskGroup())
        group.create_task(self._listen())
        return self

    async def __aexit__(self, *exception: object) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
        await self._stack.aclose()

    async def call(self, session: str, do: str, **arguments: Any) -> Any:
        """Let a session do something and return what came of it."""
        number = len(self._answers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        command = {"id": number, "session": session, "do": do, **arguments}
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command).encode() + b"\n")
        return await answer

    async def event(self, session: str, **wanted: Any) -> None:
        """Return when a session has told of an event with these values."""
        async with self._changed:
            await self._changed.wait_for(
                lambda: any(wanted.items() <= event.items() for event in self.events[session])
            )

    async def _listen(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            said = json.loads(line)
            if "event" in said:
                async with self._changed:
                    self.events[said.pop("session")].append(said)
                    self._changed.notify_all()
            elif not (answer := self._answers[said["id"]]).done():
                # Nobody waits any more for what a run that was given up asked.
                if "error" in said:
                    answer.set_exception(AssertionError(said["error"]))
                else:
                    answer.set_result(said["value"])
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(AssertionError("the subject has ended"))
