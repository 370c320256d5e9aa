"""Latencies, rates and the CPU of a process, and how they are printed."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

Call = Callable[[], Awaitable[object]]

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Latency:
    """Percentiles of some latencies, in milliseconds."""

    p50: float
    p99: float
    count: int

    @classmethod
    def of(cls, seconds: list[float]) -> "Latency":
        """Return the percentiles of latencies in seconds."""
        ordered = sorted(seconds)
        return cls(
            ordered[len(ordered) // 2] * 1e3,
            ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))] * 1e3,
            len(ordered),
        )

    def __str__(self) -> str:
        return f"p50 {self.p50:7.3f} ms  p99 {self.p99:7.3f} ms  n={self.count}"


async def timed(call: Call) -> float:
    """Return how long one call takes, in seconds."""
    before = time.perf_counter()
    await call()
    return time.perf_counter() - before


async def alternate(rounds: int, *calls: Call) -> list[list[float]]:
    """Call each of `calls` in turn, `rounds` times; return the seconds of each."""
    seconds: list[list[float]] = [[] for _ in calls]
    for _ in range(rounds):
        for into, call in zip(seconds, calls, strict=True):
            into.append(await timed(call))
    return seconds


async def crowd(callers: int, each: int, call: Callable[[int], Awaitable[object]]) -> list[float]:
    """Let `callers` call `each` times one after another; return the seconds of every call."""
    seconds: list[float] = []

    async def caller(number: int) -> None:
        for _ in range(each):
            before = time.perf_counter()
            await call(number)
            seconds.append(time.perf_counter() - before)

    await asyncio.gather(*(caller(number) for number in range(callers)))
    return seconds


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def resident_kib(pid: int) -> int:
    """Return the resident memory of a process, in KiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise ValueError(f"process {pid} has no resident memory")


@dataclass(slots=True)
class Report:
    """Prints figures, and each aim as reached or missed."""

    missed: int = 0

    def heading(self, text: str) -> None:
        """Begin a section."""
        print(f"\n{text}", flush=True)

    def figure(self, name: str, value: object) -> None:
        """Print one figure."""
        print(f"  {name:<46} {value}", flush=True)

    def aim(self, name: str, value: float, aim: float, *, at_least: bool = False) -> None:
        """Print a ratio with its aim, and by how much it is reached or missed."""
        reached = value >= aim if at_least else value <= aim
        self.missed += not reached
        sign = "≥" if at_least else "≤"
        verdict = "reached" if reached else "MISSED"
        print(f"  {name:<46} {value:.2f} (aim {sign} {aim:g}): {verdict}", flush=True)
