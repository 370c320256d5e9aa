"""Swarms that work through the client library's sessions."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from infrafabric import FabricError, Session, TaskHandle
from infrafabric.errors import ClaimVoid, InvalidRequest, SessionEnded, Unreachable
from infrafabric.session.session import SessionOptions
from tests.robustness.evidence import PROVIDERS
from tests.robustness.traffic.actor import Actor, World
from tests.robustness.traffic.callers import shortly
from tests.robustness.traffic.helpers import accept, ask_for_help
from tests.robustness.traffic.spending import MOST_AT_A_TIME


class Worker(Actor):
    """A swarm with a session: it takes what comes, and ends it in every way there is.

    Now and then its process is replaced: it leaves, or another one takes over with or without
    the token of the session.

    Args:
        name: in the history, and of the swarm.
        world: what it shares with the others.
        capability: what it can do.
        slots: tasks at a time.
    """

    def __init__(self, name: str, world: World, *, capability: str, slots: int) -> None:
        super().__init__(name, world)
        self._capability = capability
        self._slots = slots
        self._process = 0

    async def run(self) -> None:
        """Be at work until the run is over, in one process after the other."""
        token = ""
        # One that was cut off when it was replaced may come back and go on.
        processes: list[asyncio.Task[None]] = []
        async with asyncio.TaskGroup() as group:
            while not self.world.over.is_set():
                session = self._session(token)
                self._process += 1
                listener = f"{self.name}.{self._process}"
                processes.append(group.create_task(self._live(session, listener, group)))
                lives = self.chance.uniform(4.0, 20.0)
                with suppress(TimeoutError):
                    async with asyncio.timeout(lives):
                        await self.world.over.wait()
                if self.world.closing.is_set():
                    await self.world.over.wait()
                token = self.chance.choice(("", session.resume_token))
                if self.chance.random() < 0.4:
                    processes[-1].cancel()
                    await asyncio.wait(processes[-1:])
            for process in processes:
                process.cancel()

    def _session(self, token: str) -> Session:
        return Session(
            "unused",
            swarm_id=self.name,
            capabilities=[self._capability],
            slots=self._slots,
            options=SessionOptions(resume_token=token, channel=self.channel),
        )

    async def _live(self, session: Session, listener: str, group: asyncio.TaskGroup) -> None:
        """Work until this process is replaced."""
        handling: set[asyncio.Task[None]] = set()
        besides = [
            group.create_task(each)
            for each in (self._hear(session, listener), self._help(session), self._spend(session))
        ]
        try:
            async with session:
                with suppress(SessionEnded, StopAsyncIteration):
                    async for handle in session:
                        self._received(handle)
                        task = group.create_task(self._work(handle))
                        handling.add(task)
                        task.add_done_callback(handling.discard)
        finally:
            for task in (*besides, *handling):
                task.cancel()

    async def _hear(self, session: Session, listener: str) -> None:
        with suppress(FabricError):
            async for text in session.broadcasts():
                self.recorder.see(listener, "text", message=text.message)

    async def _help(self, session: Session) -> None:
        """Take most offers to help, and charge what the help costs."""
        with suppress(FabricError):
            async for wanted in session.help_wanted():
                helps = self.name in wanted.helper_swarm_ids
                if self.name in wanted.asked_swarm_ids and self.chance.random() < 0.8:
                    helps = await accept(self, self.name, wanted.help_id)
                if helps and not self.world.closing.is_set() and self.chance.random() < 0.5:
                    await self._charge(session, wanted.help_id)

    async def _spend(self, session: Session) -> None:
        """Charge costs of the swarm itself, over every cut."""
        while not self.world.closing.is_set():
            await self.pause(0.2, 1.5)
            await self._charge(session, "")

    async def _charge(self, session: Session, help_id: str) -> None:
        operation = f"op-{self.recorder.tag()}"
        micros = self.chance.randint(1, MOST_AT_A_TIME)
        with suppress(FabricError):
            await self.recorder.call(
                self.name,
                "help-cost" if help_id else "cost",
                lambda: _decided(session.cost(operation, micros, help_id=help_id)),
                tag=operation,
                via="session",
                swarm_id=self.name,
                micros=micros,
                help_id=help_id,
            )

    def _received(self, handle: TaskHandle) -> None:
        self.recorder.see(
            self.name,
            "received",
            swarm_id=self.name,
            task_id=handle.task_id,
            attempt=handle.attempt,
        )
        self.holds(handle.task_id, handle.attempt, self.name)

    async def _work(self, handle: TaskHandle) -> None:
        if self.chance.random() < 0.5:
            tag = f"note-{self.recorder.tag()}"
            percent = self.chance.choice((25, 50, 75))
            if not await self._say("milestone", handle, tag, lambda: handle.progress(percent, tag)):
                return
        if self.chance.random() < 0.4:
            operation = f"op-{self.recorder.tag()}"
            micros = self.chance.randint(1, MOST_AT_A_TIME)

            def spent() -> Awaitable[object]:
                return handle.cost(operation, micros)

            if not await self._say("cost", handle, operation, spent, micros=micros):
                return
        await self.pause(0.0, 0.15)
        await self._end(handle)

    async def _end(self, handle: TaskHandle) -> None:
        ways: dict[str, int] = {"complete": 24, "fail": 4, "provider": 1}
        if not self.world.closing.is_set():
            ways |= {"release": 4, "block": 6, "dawdle": 2}
        way = self.chance.choices(list(ways), list(ways.values()))[0]
        match way:
            case "fail":
                reason = f"failed-{self.recorder.tag()}"
                await self._say("fail", handle, reason, lambda: handle.fail(reason))
            case "provider":
                reason = f"{PROVIDERS}{self.recorder.tag()}"
                again = shortly()
                await self._say(
                    "fail",
                    handle,
                    reason,
                    lambda: handle.fail(reason, provider="quota", retry_time=again),
                )
            case "release":
                reason = f"released-{self.recorder.tag()}"
                await self._say("release", handle, reason, lambda: handle.release(reason))
            case "block":
                await self._block(handle)
            case "dawdle":
                await self.pause(1.0, 4.0)
                await self._complete(handle)
            case _:
                await self._complete(handle)

    async def _complete(self, handle: TaskHandle) -> None:
        cost = self.price()
        await self._say(
            "complete",
            handle,
            cost,
            lambda: handle.complete({"cost": cost}, cost_micros=cost),
        )

    async def _block(self, handle: TaskHandle) -> None:
        text = f"blocked-{self.recorder.tag()}"
        if not await self._say("block", handle, text, lambda: handle.block(text)):
            return
        if self.chance.random() < 0.5:
            await ask_for_help(self, self.name, handle.task_id, handle.attempt)
        try:
            await handle.unblocked()
        except FabricError:
            return
        await self._complete(handle)

    async def _say(
        self,
        kind: str,
        handle: TaskHandle,
        tag: object,
        request: Callable[[], Awaitable[object]],
        **more: Any,
    ) -> bool:
        """Note a decision; tell whether the claim goes on."""
        try:
            await self.recorder.call(
                self.name,
                kind,
                lambda: _decided(request()),
                tag=tag,
                via="session",
                swarm_id=self.name,
                task_id=handle.task_id,
                attempt=handle.attempt,
                **more,
            )
        except (ClaimVoid, InvalidRequest, Unreachable):
            return False
        return True


async def _decided(asked: Awaitable[object]) -> object:
    try:
        return await asked
    except SessionEnded as error:
        # What was asked before the end may have been decided.
        raise Unreachable(f"the session ended: {error.message}") from error
