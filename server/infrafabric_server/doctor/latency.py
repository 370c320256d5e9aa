"""How long small requests take."""

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from statistics import median

from infrafabric_server.doctor.findings import Finding, Subject

_ROUNDS = 20


@dataclass(frozen=True, slots=True)
class Limits:
    """In seconds: up to `good` all is well, beyond `bad` it is a problem."""

    good: float
    bad: float


async def sampled(request: Callable[[], Awaitable[object]], rounds: int = _ROUNDS) -> list[float]:
    """Return how many seconds `request` took, each of so many times in turn."""
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        await request()
        times.append(time.perf_counter() - began)
    return times


def judged(
    subject: Subject, check: str, times: Sequence[float], limits: Limits, advice: str
) -> Finding:
    """Judge samples by their median; the slowest one is told as well."""
    middle = median(times)
    text = f"p50 {middle * 1e3:.1f} ms, slowest of {len(times)} {max(times) * 1e3:.1f} ms"
    if middle > limits.bad:
        return subject.problem(check, text, advice)
    if middle > limits.good:
        return subject.note(check, text, advice)
    return subject.ok(check, text)
