"""One task under way: what the guest was given, what it has taken, and what it has said."""

import time
from typing import NamedTuple

from infrafabric_server.chassis.sandbox.bucket import TokenBucket
from infrafabric_server.chassis.sandbox.frames import (
    CALL_BYTES,
    CALL_NAME_BYTES,
    LOG_BYTES,
    Kind,
    join_call,
)
from infrafabric_server.chassis.sandbox.worker.ends import Fault, Stop
from infrafabric_server.chassis.sandbox.worker.wire import Wire

# What is kept of standard error, for a person.
_DIAGNOSTIC_BYTES = 4 << 10


class Terms(NamedTuple):
    """The limits that the worker itself keeps."""

    memory_bytes: int
    output_bytes: int
    calls_per_second: int
    clock: bool
    cpu_seconds: int


class Task:
    """A task under way.

    Args:
        terms: what the guest may take.
        wire: the way to the service.
        request: what the guest reads.
    """

    def __init__(self, terms: Terms, wire: Wire, request: bytes | bytearray) -> None:
        self.request = memoryview(request)
        self.output = bytearray()
        self.diagnostics = bytearray()
        self.written = 0
        self._terms = terms
        self._wire = wire
        self._calls = TokenBucket(terms.calls_per_second, time.monotonic())
        self._start = time.time_ns()
        # What a guest that sees no time pass has slept, in nanoseconds.
        self._slept = 0

    @property
    def calls(self) -> int:
        """Return how many host calls there were."""
        return self._calls.taken

    def keep(self, data: bytes, *, result: bool) -> None:
        """Take what the guest has written and `count_output` has counted."""
        if result:
            self.output += data
        else:
            self.diagnostics += data[: _DIAGNOSTIC_BYTES - len(self.diagnostics)]

    def count_output(self, size: int) -> None:
        """Count what the guest is about to write.

        Raises:
            Stop: it is more than it may write.
        """
        self.written += size
        most = self._terms.output_bytes
        if self.written > most:
            raise Stop("output", f"wrote more than {most} bytes", most, self.written)

    def log(self, text: bytes) -> None:
        """Pass a line on; what is longer than a line may be is cut.

        Raises:
            Stop: there were too many calls.
        """
        self._count_call()
        self._wire.write(Kind.LOG, text[:LOG_BYTES])

    def call(self, name: bytes, body: bytes) -> tuple[bool, bytearray]:
        """Ask the service.

        Returns:
            Whether it did what was asked, and its answer or the reason.

        Raises:
            Stop: there were too many calls.
            Fault: no such call can be.
        """
        self._count_call()
        try:
            named = name.decode()
        except UnicodeDecodeError:
            raise Fault("the name of a host call is not UTF-8") from None
        if not 1 <= len(name) <= CALL_NAME_BYTES:
            raise Fault(f"the name of a host call has 1 to {CALL_NAME_BYTES} bytes")
        if 1 + len(name) + len(body) > CALL_BYTES:
            raise Fault(f"a host call has at most {CALL_BYTES} bytes")
        self._wire.write(Kind.CALL, join_call(named, body))
        kind, answer = self._wire.read(Kind.ANSWER, Kind.REFUSAL)
        return kind is Kind.ANSWER, answer

    def now(self) -> int:
        """Return the time of day as the guest may know it, in nanoseconds."""
        return time.time_ns() if self._terms.clock else self._start + self._slept

    def sleep(self, nanoseconds: int) -> None:
        """Let time pass; a guest without a clock believes that it did."""
        if self._terms.clock:
            # Whoever sleeps for longer than the task may last is stopped from outside.
            time.sleep(min(nanoseconds / 1e9, 86_400))
        else:
            self._slept += nanoseconds

    def _count_call(self) -> None:
        now = time.monotonic()
        if not self._calls.take(now):
            most, seen = self._calls.rate, self._calls.per_second(now)
            raise Stop("api_calls", f"more than {most} host calls per second", most, seen)
