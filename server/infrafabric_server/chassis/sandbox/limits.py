"""What a guest may take."""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True)
class Limits:
    """What one guest may take; a worker has the same for all its tasks.

    The defaults are those of a contract, so that what is tried by hand runs as it does at a server.

    Attributes:
        max_memory_mb: linear memory, in MiB.
        max_cpu_percent: share of one core; 100 is all of it.
        max_execution_time: of one task, by the clock on the wall.
        max_output_bytes: what a task writes, to its result and its diagnostics together.
        max_api_calls_per_second: host calls, log lines among them; as many may come at once.
        clock: whether the guest sees time pass and may sleep; else the time is that of the start.
    """

    max_memory_mb: int = 64
    max_cpu_percent: int = 100
    max_execution_time: timedelta = timedelta(seconds=10)
    max_output_bytes: int = 65_536
    max_api_calls_per_second: int = 100
    clock: bool = False
