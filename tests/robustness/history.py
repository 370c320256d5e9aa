"""What the clients did and saw: each operation with its invocation and its outcome.

A history is a file of JSON lines, written as things happen, so that a run that dies leaves one
too. An operation is two lines: that it was invoked, and how it returned; one that never
returned has no second line, and its effect is unknown. Everything else is an observation.
Times are seconds of the monotonic clock of the one process that all clients share.
"""

import json
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

from infrafabric.errors import FabricError, StoreUnavailable, Unreachable

T = TypeVar("T")


class Outcome(StrEnum):
    """How an operation ended, as far as its client knows."""

    OK = "ok"
    REFUSED = "refused"
    UNKNOWN = "unknown"


@dataclass(slots=True)
class Operation:
    """One thing that a client asked for.

    Attributes:
        number: in the order of the invocations.
        client: who asked.
        kind: what for, for example `complete`.
        tag: what marks its effect in the fabric; repeats of one request share it.
        invoked: when it was asked.
        fields: what was asked.
        returned: when the answer came; None when none did.
        outcome: how it ended.
        reason: class of the refusal or failure.
        answer: what was answered.
    """

    number: int
    client: str
    kind: str
    tag: str
    invoked: float
    fields: dict[str, Any] = field(default_factory=dict)
    returned: float | None = None
    outcome: Outcome = Outcome.UNKNOWN
    reason: str = ""
    answer: dict[str, Any] = field(default_factory=dict)

    @property
    def acknowledged(self) -> bool:
        """Whether the client was told that it took effect."""
        return self.outcome is Outcome.OK

    @property
    def task_id(self) -> str:
        """The task that it is about, if it is about one."""
        return str(self.fields.get("task_id", ""))

    @property
    def swarm_id(self) -> str:
        """The swarm that it is for, if it is for one."""
        return str(self.fields.get("swarm_id", ""))

    @property
    def attempt(self) -> int:
        """The attempt that it names, 0 without one."""
        return int(self.fields.get("attempt", 0))


@dataclass(frozen=True, slots=True)
class Observation:
    """One thing that a client saw, or that was done to the servers.

    Attributes:
        client: who saw it.
        kind: what it is, for example `task_changed`.
        at: when.
        fields: what was seen.
    """

    client: str
    kind: str
    at: float
    fields: dict[str, Any] = field(default_factory=dict)


class Recorder:
    """Writes a history while it happens.

    Args:
        path: of the file to write.
        clock: returns seconds that never go back.

    Attributes:
        unanswered: how many requests wait for their answer.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._file = path.open("w", buffering=1 << 16)
        self._clock = clock
        self._operations = 0
        self._tags = 0
        self.unanswered = 0

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def tag(self) -> int:
        """Return a number that no other request carries, at least 1."""
        self._tags += 1
        return self._tags

    def see(self, client: str, kind: str, **fields: Any) -> None:
        """Note an observation."""
        self._write(asdict(Observation(client, kind, self._clock(), fields)))

    async def call(
        self,
        client: str,
        kind: str,
        request: Callable[[], Awaitable[T]],
        *,
        tag: object = "",
        answer: Callable[[T], dict[str, Any]] = lambda _: {},
        **fields: Any,
    ) -> T:
        """Make a request and note how it ends.

        Args:
            client: who asks.
            kind: what for.
            request: makes the request.
            tag: what marks its effect.
            answer: returns what to note of the answer.
            fields: what is asked.

        Raises:
            FabricError: as the request.
        """
        self._operations += 1
        number = self._operations
        self._write(
            {
                "invoke": number,
                "client": client,
                "kind": kind,
                "tag": str(tag),
                "fields": fields,
                "at": self._clock(),
            }
        )
        self.unanswered += 1
        try:
            result = await request()
        except (Unreachable, StoreUnavailable) as error:
            self._end(number, Outcome.UNKNOWN, type(error).__name__, {"message": error.message})
            raise
        except FabricError as error:
            self._end(number, Outcome.REFUSED, type(error).__name__, {"message": error.message})
            raise
        finally:
            self.unanswered -= 1
        self._end(number, Outcome.OK, "", answer(result))
        return result

    def _end(self, number: int, outcome: Outcome, reason: str, answer: dict[str, Any]) -> None:
        self._write(
            {
                "return": number,
                "outcome": outcome,
                "reason": reason,
                "answer": answer,
                "at": self._clock(),
            }
        )

    def _write(self, line: dict[str, Any]) -> None:
        self._file.write(json.dumps(line, separators=(",", ":")) + "\n")


def read_history(lines: Iterator[str]) -> tuple[list[Operation], list[Observation]]:
    """Return the operations by number and the observations in their order.

    Args:
        lines: of the file.
    """
    operations: dict[int, Operation] = {}
    observations: list[Observation] = []
    for text in lines:
        line = json.loads(text)
        if "invoke" in line:
            operations[line["invoke"]] = Operation(
                line["invoke"],
                line["client"],
                line["kind"],
                line["tag"],
                line["at"],
                line["fields"],
            )
        elif "return" in line:
            operation = operations[line["return"]]
            operation.outcome = Outcome(line["outcome"])
            operation.reason, operation.answer = line["reason"], line["answer"]
            operation.returned = line["at"]
        else:
            observations.append(Observation(**line))
    return list(operations.values()), observations
