"""What is said while a task runs: the request goes in; lines, calls, a result and an end come."""

from collections.abc import Callable
from dataclasses import dataclass

from infrafabric_server.chassis.sandbox.bucket import TokenBucket
from infrafabric_server.chassis.sandbox.channel import Channel
from infrafabric_server.chassis.sandbox.frames import (
    CALL_BYTES,
    LOG_BYTES,
    Broken,
    Kind,
    split_call,
)
from infrafabric_server.chassis.sandbox.host import CallFailed, HostCalls
from infrafabric_server.chassis.sandbox.limits import Limits
from infrafabric_server.chassis.sandbox.messages import End, read_end
from infrafabric_server.chassis.sandbox.outcome import Violation, ViolationKind

_WHILE_RUNNING = frozenset({Kind.LOG, Kind.CALL, Kind.RESULT, Kind.END})
_AFTER_RESULT = frozenset({Kind.END})


@dataclass(frozen=True)
class Said:
    """What a worker said at the end of a task."""

    result: bytearray | None
    end: End


class Exchange:
    """One task with a worker. Whatever the worker does, what is kept of it has a bound.

    Args:
        channel: the way to the worker.
        limits: what the guest may take.
        host: answers its calls.
        now: seconds on a clock that does not go back.
    """

    def __init__(
        self, channel: Channel, limits: Limits, host: HostCalls, now: Callable[[], float]
    ) -> None:
        self.said: Said | None = None
        self.violation: Violation | None = None
        self._channel = channel
        self._limits = limits
        self._host = host
        self._now = now
        self._calls = TokenBucket(limits.max_api_calls_per_second, now())

    @property
    def calls(self) -> int:
        """How many host calls there were."""
        return self._calls.taken

    async def run(self, request: bytes) -> None:
        """Go on until the task has ended, or made a call too many.

        Raises:
            Closed: the worker has ended.
            Broken: it said what it may not say.
            CallDenied: it made a call that it may not make.
        """
        await self._channel.write(Kind.INPUT, request)
        most = {Kind.RESULT: self._limits.max_output_bytes}
        result: bytearray | None = None
        while self.violation is None:
            expected = _WHILE_RUNNING if result is None else _AFTER_RESULT
            kind, body = await self._channel.read(expected, most)
            if kind is Kind.RESULT:
                result = body
            elif kind is Kind.END:
                end = read_end(body, self._limits)
                if (end.exit_code is None) != (result is None):
                    raise Broken("a task has a result when it has an exit code")
                self.said = Said(result, end)
                return
            elif not self._calls.take(self._now()):
                most_calls = self._limits.max_api_calls_per_second
                self.violation = Violation(
                    ViolationKind.API_CALLS,
                    f"more than {most_calls} host calls per second",
                    most_calls,
                    self._calls.per_second(self._now()),
                )
            elif kind is Kind.LOG:
                await self._host.log(body.decode(errors="replace"))
            else:
                await self._answer(body)

    async def _answer(self, body: bytearray) -> None:
        name, request = split_call(bytes(body))
        try:
            answer = await self._host.call(name, request)
        except CallFailed as failed:
            # A reason may repeat what the guest said, which need not be Unicode.
            reason = str(failed).encode(errors="replace")[:LOG_BYTES]
            await self._channel.write(Kind.REFUSAL, reason)
            return
        if len(answer) > CALL_BYTES:
            reason = f"the answer has more than {CALL_BYTES} bytes".encode()
            await self._channel.write(Kind.REFUSAL, reason)
            return
        await self._channel.write(Kind.ANSWER, answer)
