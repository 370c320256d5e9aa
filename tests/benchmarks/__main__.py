"""`make bench`: the fabric against bare controls, interleaved in one run.

Every ratio is of medians that were measured in turn, so that a slow moment of the machine
slows both sides. Absolute figures are of this machine and this moment; trust the ratios.
"""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop

from tests.benchmarks import budgets, chassis, etcd, matching, replicated, sizing
from tests.benchmarks.controls import Disk, Echo
from tests.benchmarks.economics import command as economics
from tests.benchmarks.measuring import Report, timed
from tests.benchmarks.run import Run
from tests.harness.server import ServerProcess

EMBEDDED: dict[str, Callable[[Run], Awaitable[None]]] = {
    "controls": Run.disk_and_echo,
    "claims": Run.claims,
    "push1": lambda run: run.pushes(1),
    "push100": lambda run: run.pushes(100),
    "push1000": lambda run: run.pushes(1000),
    "rate": Run.rate,
    "notify": Run.notifications,
    "blockers": Run.blockers,
    "budgets": budgets.budgets,
    "open100": lambda run: run.open_loop(100),
    "open1000": lambda run: run.open_loop(1000),
}
PARTS = (*EMBEDDED, "chassis", "matching", "economics", "etcd", *replicated.SETUPS, "sizing")


async def _measure(scale: float, only: set[str]) -> int:
    report = Report()
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        disk = Disk(Path(folder))
        echo = await Echo.start()
        try:
            async with ServerProcess(Path(folder)) as server:
                run = Run(server, echo, disk, report, scale)
                await timed(echo.call)
                for name, part in EMBEDDED.items():
                    if not only or name in only:
                        await part(run)
        finally:
            await echo.stop()
            disk.close()
    return report.missed


def main() -> int:
    """Run the benchmark; the exit status says nothing about aims, only about the run."""
    parser = argparse.ArgumentParser(prog="make bench ARGS=")
    parser.add_argument("--scale", type=float, default=1.0, help="how often, 1.0 is a full run")
    parser.add_argument("--only", default="", help=f"comma-separated parts, of {', '.join(PARTS)}")
    options = parser.parse_args()
    only = set(filter(None, options.only.split(",")))
    unknown = only - set(PARTS)
    if unknown:
        parser.error(f"no part is called {', '.join(sorted(unknown))}")
    missed = 0
    if not only or only & set(EMBEDDED):
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            missed = runner.run(_measure(options.scale, only))
    if not only or "chassis" in only:
        missed += chassis.main(options.scale)
    if not only or "matching" in only:
        missed += matching.main([])
    if not only or "economics" in only:
        missed += economics.bench(options.scale)
    if not only or "etcd" in only:
        missed += etcd.main(options.scale)
    for name, members in replicated.SETUPS.items():
        if not only or name in only:
            missed += replicated.main(members, options.scale)
    if not only or "sizing" in only:
        missed += sizing.main(options.scale)
    print(f"\n{missed} aims missed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
