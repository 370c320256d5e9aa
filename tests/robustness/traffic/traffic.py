"""All clients of a run."""

import asyncio
from dataclasses import dataclass

from tests.robustness.traffic.actor import Running, World
from tests.robustness.traffic.boards import BoardMaker
from tests.robustness.traffic.callers import Caller
from tests.robustness.traffic.helpers import Helper
from tests.robustness.traffic.http import EventReader, HttpCaller
from tests.robustness.traffic.meddlers import Announcer, Meddler, Reporter
from tests.robustness.traffic.orchestrator import Orchestrator
from tests.robustness.traffic.raw import RawWorker
from tests.robustness.traffic.spending import Spender, Treasurer
from tests.robustness.traffic.warden import Warden
from tests.robustness.traffic.watchers import StatusWatcher, Tail, TaskWatcher
from tests.robustness.traffic.workers import Worker


@dataclass(frozen=True, slots=True)
class Traffic:
    """The clients, and those of them that must see the end.

    Attributes:
        clients: all of them.
        task_watchers: who follow the tasks.
        status_watchers: who follow the statuses.
        tails: who follow the log.
    """

    clients: tuple[Running, ...]
    task_watchers: tuple[TaskWatcher, ...]
    status_watchers: tuple[StatusWatcher, ...]
    tails: tuple[Tail, ...]


def traffic(world: World) -> Traffic:
    """Return the clients of a run."""
    tasks = tuple(TaskWatcher(f"task-watcher-{n}", world) for n in range(2))
    statuses = tuple(StatusWatcher(f"status-watcher-{n}", world) for n in range(2))
    tails = (Tail("tail-0", world),)
    clients: tuple[Running, ...] = (
        *tasks,
        *statuses,
        *tails,
        Orchestrator("orchestrator", world),
        *(BoardMaker(f"maker-{n}", world) for n in range(2)),
        *(Worker(f"worker-{n}", world, capability="ab"[n % 2], slots=1 + n // 2) for n in range(4)),
        *(RawWorker(f"raw-{n}", world, capability="ab"[n % 2]) for n in range(2)),
        *(Caller(f"caller-{n}", world, leaves=n == 2) for n in range(3)),
        *(HttpCaller(f"http-{n}", world) for n in range(2)),
        EventReader("event-reader-0", world),
        *(Meddler(f"meddler-{n}", world) for n in range(2)),
        *(Reporter(f"reporter-{n}", world) for n in range(2)),
        Announcer("announcer", world),
        *(Spender(f"spender-{n}", world) for n in range(2)),
        *(Helper(f"helper-{n}", world) for n in range(3)),
        Treasurer("treasurer", world),
        Warden("warden", world),
    )
    return Traffic(clients, tasks, statuses, tails)


async def work(found: Traffic) -> None:
    """Let all clients run until they end."""
    async with asyncio.TaskGroup() as group:
        for client in found.clients:
            group.create_task(client.run())
