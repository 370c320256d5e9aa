"""What every process of the fleet is told, and how it lives."""

import argparse
import asyncio
import signal
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo.journal import Journal

SECONDS_IN_HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class Member:
    """One process of the fleet.

    Attributes:
        swarm_id: who it is.
        server: the gRPC address of the server, as `host:port`; of several, with commas.
        folder: the run's folder.
        second_per_hour: how many seconds an hour of simulated work takes.
    """

    swarm_id: str
    server: str
    folder: Path
    second_per_hour: float

    def arguments(self) -> list[str]:
        """Return the command line that `run` reads."""
        return [
            *("--swarm", self.swarm_id, "--server", self.server),
            *("--run-dir", str(self.folder), "--second-per-hour", str(self.second_per_hour)),
        ]

    async def work(self, hours: float) -> None:
        """Do so many hours of work, which is simulated: it only takes its time."""
        await asyncio.sleep(hours * self.second_per_hour)


def run(main: Callable[[Member, Journal], Coroutine[Any, Any, None]]) -> None:
    """Run a process of the fleet by its command line, until it ends or SIGTERM asks it to."""
    parser = argparse.ArgumentParser(description="One process of the demonstration's fleet.")
    parser.add_argument("--swarm", required=True)
    parser.add_argument("--server", required=True)
    parser.add_argument("--run-dir", required=True, type=Path)
    parser.add_argument("--second-per-hour", required=True, type=float)
    told = parser.parse_args()
    member = Member(told.swarm, told.server, told.run_dir, told.second_per_hour)
    journal = Journal(member.folder, member.swarm_id)
    try:
        asyncio.run(_until_terminated(main(member, journal)))
    finally:
        journal.close()


async def _until_terminated(main: Coroutine[Any, Any, None]) -> None:
    task = asyncio.ensure_future(main)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    with suppress(asyncio.CancelledError):
        await task
