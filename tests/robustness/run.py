"""A run: servers, traffic, faults, and the evidence that is left."""

import asyncio
import json
import random
from collections import defaultdict
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from tests.robustness.evidence import HISTORY, Evidence, read
from tests.robustness.faults.fault import Fault
from tests.robustness.faults.schedule import Event, schedule
from tests.robustness.finale import finish, write_state
from tests.robustness.history import Recorder
from tests.robustness.setups.distributed import distributed
from tests.robustness.setups.embedded import embedded
from tests.robustness.setups.setup import Setup
from tests.robustness.traffic.actor import World
from tests.robustness.traffic.traffic import traffic, work

SETUPS: dict[str, Callable[[Path, Recorder], AbstractAsyncContextManager[Setup]]] = {
    "embedded": embedded,
    "distributed": distributed,
    "distributed-3": partial(distributed, replicas=3, members=3),
}


_PLAN = "plan.json"


class UnknownFaultError(Exception):
    """The set-up has no fault of this name; the text lists those that it has."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run is.

    Attributes:
        setup: name of the set-up.
        seconds: that the traffic lasts, before what is left is finished.
        seed: of all chance.
        faults: names of the faults to inject; None for all that are possible.
    """

    setup: str
    seconds: float
    seed: int
    faults: tuple[str, ...] | None = None


def planned(folder: Path) -> Plan:
    """Return what the run was that left its evidence in a folder."""
    plan = json.loads((folder / _PLAN).read_text())
    faults = None if plan["faults"] is None else tuple(plan["faults"])
    return Plan(plan["setup"], plan["seconds"], plan["seed"], faults)


async def run(plan: Plan, folder: Path) -> Evidence:
    """Run once and return the evidence, which is also left in the folder.

    Args:
        plan: what to do.
        folder: for the evidence and the servers' data; it must exist.

    Raises:
        UnknownFaultError: the plan names a fault that the set-up does not have.
    """
    (folder / _PLAN).write_text(json.dumps(asdict(plan)))
    recorder = Recorder(folder / HISTORY)
    try:
        async with SETUPS[plan.setup](folder, recorder) as setup:
            world = World(setup, recorder, plan.seed)
            found = traffic(world)
            events = schedule(_chosen(setup, plan), plan.seconds, world.chance("schedule"))
            working = asyncio.create_task(work(found))
            try:
                await _first_of(_spoil(world, events, plan.seconds), working)
                for server in setup.servers:
                    await server.revive()
                world.closing.set()
                await _first_of(finish(world, found), working)
                await write_state(world, folder)
            finally:
                world.over.set()
                await working
    finally:
        recorder.close()
    return read(folder)


async def _first_of(wanted: Coroutine[None, None, None], working: asyncio.Task[None]) -> None:
    """Wait for one thing while the clients work; a client that fails ends it."""
    task = asyncio.create_task(wanted)
    await asyncio.wait((task, working), return_when=asyncio.FIRST_COMPLETED)
    if not task.done():
        task.cancel()
        await asyncio.wait((task,))
        working.result()
    task.result()


def _chosen(setup: Setup, plan: Plan) -> dict[str, Fault]:
    names = plan.faults if plan.faults is not None else tuple(setup.faults)
    for name in names:
        if name not in setup.faults:
            known = ", ".join(sorted(setup.faults))
            raise UnknownFaultError(f"{plan.setup} has no fault {name}; it has {known}")
    return {name: setup.faults[name] for name in names}


async def _spoil(world: World, events: Sequence[Event], seconds: float) -> None:
    """Inject the faults when they are due, heal them, and return when the time is over."""
    begin = asyncio.get_running_loop().time()
    # Healing may take longer than was planned; what comes next to the same thing waits for it.
    turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
    async with asyncio.TaskGroup() as group:
        for number, event in enumerate(events):
            turn = turns[world.setup.faults[event.name].domain]
            chance = world.chance(f"fault {number}")
            group.create_task(_one(world, event, begin, turn, chance))
        await asyncio.sleep(seconds)


async def _one(
    world: World, event: Event, begin: float, turn: asyncio.Lock, chance: random.Random
) -> None:
    clock, fault = asyncio.get_running_loop().time, world.setup.faults[event.name]
    await asyncio.sleep(begin + event.start - clock())
    async with turn:
        where = await fault.inject(chance)
        world.recorder.see("faults", "fault", name=event.name, where=where)
        try:
            await asyncio.sleep(begin + event.end - clock())
        finally:
            await fault.heal()
        world.recorder.see("faults", "healed", name=event.name)
