"""The end of a run: what is left is finished, the watchers catch up, the state is read."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path

from infrafabric import Client, FabricError
from infrafabric.v1.status_pb2 import Status
from infrafabric.v1.task_pb2 import (
    DISPATCH_MANUAL,
    TASK_STATE_AVAILABLE,
    TASK_STATE_BLOCKED,
    TASK_STATE_CLAIMED,
    Task,
    TaskState,
)
from infrafabric.values import from_struct
from tests.harness.server import COMMAND
from tests.robustness import governor
from tests.robustness.evidence import LAST_TEXT, STATE, FinalStatus, FinalTask, log_name
from tests.robustness.setups.setup import Setup
from tests.robustness.traffic.actor import World
from tests.robustness.traffic.traffic import Traffic

# When the faults are over, all leases, claims, waits and deadlines run out within some
# seconds; what is left after so long is stuck.
PATIENCE = 60.0
_LOOK = 0.2
_LIVE = (TASK_STATE_BLOCKED, TASK_STATE_AVAILABLE, TASK_STATE_CLAIMED)


async def finish(world: World, found: Traffic) -> None:
    """Wait until nothing is left to do and all watchers have seen it; for `PATIENCE` each."""
    async with Client(world.setup.servers[0].process.grpc) as client:
        await _within(lambda: _nothing_left(world, client))
        try:
            await _mark(world, found, client)
        except FabricError as error:
            world.recorder.see("finale", "unavailable", why=error.message)


async def _nothing_left(world: World, client: Client) -> bool:
    # A cost that a session could not get rid of before must not come between the reports and
    # the log, which are read one after the other.
    if world.recorder.unanswered:
        return False
    try:
        async for _ in client.tasks.list(states=_LIVE):
            return False
        return await governor.settled(client)
    except FabricError:
        return False


async def _mark(world: World, found: Traffic, client: Client) -> None:
    """Let something happen at last that every watcher has to see."""
    marker, text, call = "the-last-task", LAST_TEXT, world.recorder.call
    task = Task(task_id=marker, dispatch=DISPATCH_MANUAL)
    asked = [{"task_id": marker, "dependencies": []}]
    await call(
        "finale",
        "create",
        lambda: client.tasks.create(task),
        tag=marker,
        answer=lambda created: {"task_ids": [created.task_id]},
        tasks=asked,
    )
    await call("finale", "cancel", lambda: client.tasks.cancel(marker), task_id=marker)
    await call("finale", "broadcast", lambda: client.statuses.broadcast(text), tag=text)
    last = max([entry.sequence async for entry in client.witness.query()])

    async def all_told() -> bool:
        return (
            all(marker in watcher.ended for watcher in found.task_watchers)
            and all(text in watcher.texts for watcher in found.status_watchers)
            and all(tail.sequence >= last for tail in found.tails)
        )

    if not await _within(all_told):
        world.recorder.see(
            "finale", "watcher-behind", why=f"after {PATIENCE} s somebody had not seen the end"
        )


async def _within(condition: Callable[[], Awaitable[bool]]) -> bool:
    give_up = time.monotonic() + PATIENCE
    while not await condition():
        if time.monotonic() > give_up:
            return False
        await asyncio.sleep(_LOOK)
    return True


async def write_state(world: World, folder: Path) -> None:
    """Write what the fabric shows, and the log of each server; nothing if it does not answer."""
    try:
        await _write(world.setup, folder)
    except FabricError as error:
        world.recorder.see("finale", "unavailable", why=error.message)
        lists = ("servers", "tasks", "statuses", "blockers", "open_breakers")
        mappings = ("accounts", "reported", "help", "escalations")
        nothing: dict[str, object] = {name: [] for name in lists}
        nothing |= {name: {} for name in mappings}
        (folder / STATE).write_text(json.dumps(nothing))


async def _write(setup: Setup, folder: Path) -> None:
    async with Client(setup.servers[0].process.grpc) as client:
        statuses, blockers = await _statuses(client)
        state = {
            **await governor.state(client),
            "servers": [server.name for server in setup.servers],
            "tasks": [asdict(_final(task)) async for task in client.tasks.list()],
            "statuses": statuses,
            "blockers": blockers,
        }
    (folder / STATE).write_text(json.dumps(state))
    for server in setup.servers:
        with (folder / log_name(server.name)).open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                *(COMMAND, "witness", "export", "--server", server.process.grpc), stdout=log
            )
            if await process.wait():
                raise FabricError(f"the log of {server.name} could not be exported")


async def _statuses(client: Client) -> tuple[list[dict[str, object]], list[tuple[str, str]]]:
    """Return statuses and open blockers, when completions are counted and nothing changes."""
    before: object = None
    while True:
        found: list[dict[str, object]] = []
        blockers: list[tuple[str, str]] = []
        async for page in client.statuses.pages():
            blockers += [(blocker.swarm_id, blocker.task_id) for blocker in page.blockers]
            found += [
                asdict(
                    FinalStatus(
                        agent.swarm_id,
                        Status.Name(agent.status).removeprefix("STATUS_"),
                        agent.tasks_completed,
                        agent.cost_spent_micros,
                        agent.message,
                    )
                )
                for agent in page.agents
            ]
        if found == before:
            return found, blockers
        before = found
        await asyncio.sleep(_LOOK)


def _final(task: Task) -> FinalTask:
    return FinalTask(
        task_id=task.task_id,
        state=TaskState.Name(task.state).removeprefix("TASK_STATE_"),
        owner=task.owner_swarm_id,
        attempt=task.attempt,
        milestone=task.milestone_percent,
        failures=task.failures,
        cost_micros=task.cost_micros,
        parked=task.parked,
        reason=task.reason,
        result=str(from_struct(task.result).get("cost", "")),
        dependencies=tuple(task.dependencies),
        max_cost_micros=task.max_cost_micros if task.HasField("max_cost_micros") else None,
    )
