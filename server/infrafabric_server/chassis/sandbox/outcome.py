"""How a task in the box ended."""

from dataclasses import dataclass
from enum import StrEnum

from infrafabric_server.chassis.sandbox.limits import Limits

_PAGE = 64 << 10


class ViolationKind(StrEnum):
    """What a guest, or the worker around it, went beyond."""

    MEMORY = "memory"
    TABLE = "table"
    STACK = "stack"
    CPU = "cpu"
    EXECUTION_TIME = "execution_time"
    OUTPUT = "output"
    API_CALLS = "api_calls"
    API_DENIED = "api_denied"
    PROTOCOL = "protocol"
    ESCAPE = "escape"
    EXIT = "exit"


@dataclass(frozen=True)
class Violation:
    """One limit that was not kept.

    Attributes:
        kind: of limit.
        detail: what happened, for a person.
        limit: the limit in its unit: bytes, milliseconds, or calls per second.
        observed: what was seen, in the same unit; absent where nobody can tell.
    """

    kind: ViolationKind
    detail: str
    limit: int | None = None
    observed: int | None = None


@dataclass(frozen=True)
class Usage:
    """What a task took.

    All but `memory_bytes` and `output_bytes` is seen from outside; those are the worker's word,
    within the limits.

    Attributes:
        wall_seconds: from the request to the end.
        cpu_seconds: of the worker's process.
        memory_bytes: linear memory at the end; it never shrinks.
        peak_rss_bytes: the most that the process had in memory, its own 21 MB included; 0 when it
            ended by itself.
        calls: host calls, log lines among them.
        output_bytes: what the guest wrote.
    """

    wall_seconds: float
    cpu_seconds: float
    memory_bytes: int
    peak_rss_bytes: int
    calls: int
    output_bytes: int


@dataclass(frozen=True)
class Outcome:
    """How a task ended.

    Attributes:
        result: what it wrote; none when it did not come to an end of its own.
        exit_code: its own; none when it did not come to an end of its own.
        trap: what stopped it that is no limit: within its own code, such as a division by zero, or
            an error of the service in a host call; else empty.
        diagnostics: the beginning of what it wrote to standard error.
        usage: what it took.
        violations: what it went beyond; each is the end of the task.
    """

    result: bytes | None
    exit_code: int | None
    trap: str
    diagnostics: str
    usage: Usage
    violations: tuple[Violation, ...]

    @property
    def succeeded(self) -> bool:
        """Whether the guest did what was asked, within its limits."""
        return self.exit_code == 0 and not self.violations


def full_memory(limits: Limits, memory_bytes: int) -> Violation | None:
    """Return the violation of a guest that failed with its memory full.

    Only the guest learns that `memory.grow` was refused; the service sees no more than that the
    guest failed afterwards. Full means that less than a sixteenth is left, or less than one page.

    Args:
        limits: what it may take.
        memory_bytes: what it had when it failed.
    """
    most = limits.max_memory_mb << 20
    if most - memory_bytes >= max(most // 16, _PAGE):
        return None
    detail = f"failed with its memory full: {memory_bytes} of {most} bytes"
    return Violation(ViolationKind.MEMORY, detail, most, memory_bytes)
