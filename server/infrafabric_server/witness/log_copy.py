"""A replica's own copy of the log, from which it answers questions."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import structlog
from structlog.typing import FilteringBoundLogger

from infrafabric_server.errors import FabricError, Reason
from infrafabric_server.store.progress import Progress
from infrafabric_server.store.protocol import StoreFull, StoreUnavailable
from infrafabric_server.witness.batches import misfit, unpack
from infrafabric_server.witness.log import WitnessLog
from infrafabric_server.witness.models import Entry, Sealed
from infrafabric_server.witness.stream import LogStream, Message
from infrafabric_server.witness.tail import Tail

# Messages that are asked for at once; each holds up to 1,000 entries.
_WINDOW = 32
_FIRST_RETRY_SECONDS = 0.1
# Well within the time that a query waits for the log.
_LAST_RETRY_SECONDS = 1.0


class CopyFile(WitnessLog, Protocol):
    """Where a copy is kept: a log to which entries can be added that are sealed already."""

    async def extend(self, entries: Sequence[Entry]) -> None:
        """Add entries that follow the last one, all or none."""
        ...

    async def find(self, entry_ids: Sequence[str]) -> list[Entry]:
        """Return the entries that have one of these ids, by sequence."""
        ...


class Diverged(Exception):
    """The copy and the stream are not of one chain; the message says where."""


class Stalled(Exception):
    """The copy cannot go on though the stream answers; the message says why."""


class LogCopy:
    """Follows a stream into a file, and checks each entry against the one before.

    It reads on whenever it hears that the log goes further than the file, and by positions
    one after the other: there is no consumer in between that could skip or repeat a message.
    Where to begin it finds by looking for the file's last entry in the stream, which also
    shows whether both are of one chain. If they are not, it stops for good and says so.
    """

    def __init__(
        self,
        file: CopyFile,
        stream: LogStream,
        head: Entry | None,
        tail: Tail,
        *,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """Take the file, its last entry, what it follows, and its end in memory; see `open`.

        `sleep` waits for seconds before what failed is tried again.
        """
        self._file = file
        self._stream = stream
        self._head = head
        self._tail = tail
        self._sleep = sleep
        self._logger: FilteringBoundLogger = structlog.get_logger(__name__)
        self._copied = Progress(self.sequence)
        self._wanted = Progress(self.sequence)
        # Up to which sequence there is nothing to wait for: it was copied, or cannot be.
        self._tried = Progress(self.sequence)
        # The position of the message that ends with the head, once it was looked for.
        self._position: int | None = None
        self._window = 1
        self._trouble = ""
        self._broken = ""

    @classmethod
    async def open(
        cls,
        file: CopyFile,
        stream: LogStream,
        tail: Tail,
        *,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> "LogCopy":
        """Return the copy in `file`, which `run` continues. Raises StoreError."""
        return cls(file, stream, await file.last(), tail, sleep=sleep)

    @property
    def sequence(self) -> int:
        """The last entry that is in the copy."""
        return 0 if self._head is None else self._head.sequence

    @property
    def lag(self) -> int:
        """How many entries are known to be in the log and not in the copy."""
        return max(0, self._wanted.newest - self.sequence)

    @property
    def broken(self) -> bool:
        """Whether this copy does not follow from the log, so that it has stopped for good."""
        return bool(self._broken)

    @property
    def trouble(self) -> str:
        """Why the copy cannot go on now, or for good; "" when it can."""
        return self._broken or self._trouble

    def check(self) -> None:
        """Raise StoreUnavailable, saying why, when the copy is broken."""
        if self._broken:
            raise StoreUnavailable(self._broken)

    def expect(self, sealed: Sealed) -> None:
        """Take notice that the log goes up to `sealed` at least."""
        self._wanted.advance(sealed.sequence)

    async def reached(self, sequence: int) -> None:
        """Return when the copy has every entry up to `sequence`.

        Raises FabricError, STORE_UNAVAILABLE, when the copy is broken.
        """
        self._wanted.advance(sequence)
        await self._copied.reached(sequence)

    async def settled(self, sequence: int) -> None:
        """Return when the copy has every entry up to `sequence`, or cannot be written.

        While the stream is away it waits.
        """
        await self._tried.reached(sequence)

    async def find(self, entry_ids: Sequence[str]) -> list[Entry]:
        """Return the entries of the copy that have one of these ids, by sequence."""
        return await self._file.find(entry_ids)

    async def run(self) -> None:
        """Copy what is sealed, until cancelled or broken."""
        delay = _FIRST_RETRY_SECONDS
        while True:
            await self._wanted.reached(self.sequence + 1)
            try:
                await self._advance()
            except (StoreUnavailable, Stalled) as error:
                if not self._trouble:
                    self._logger.warning("witness_copy_waits", reason=str(error), lag=self.lag)
                self._trouble = str(error)
                self._position = None
                if isinstance(error, Stalled):
                    self._tried.advance(self._wanted.newest)
                await self._sleep(delay)
                delay = min(2 * delay, _LAST_RETRY_SECONDS)
            except Diverged as error:
                self._break(error)
                return
            else:
                if self._trouble:
                    self._logger.info("witness_copy_goes_on", sequence=self.sequence)
                self._trouble = ""
                delay = _FIRST_RETRY_SECONDS

    async def _advance(self) -> None:
        if self._position is None:
            self._position = await self._locate()
        messages = await self._messages(self._position)
        if not messages:
            raise Stalled(
                f"the stream of the witness log ends at message {self._position}, and lacks entry"
                f" {self.sequence + 1}, which was sealed"
            )
        entries = await asyncio.to_thread(_following, messages, self._head)
        if entries:
            try:
                await self._file.extend(entries)
            except (StoreUnavailable, StoreFull) as error:
                raise Stalled(str(error)) from error
            self._head = entries[-1]
            self._tail.add(entries)
        self._position += len(messages)
        for progress in (self._wanted, self._copied, self._tried):
            progress.advance(self.sequence)

    async def _messages(self, position: int) -> list[Message]:
        """Return the next messages behind `position`, more each time while there are as many."""
        window = range(position + 1, position + 1 + self._window)
        answers = await asyncio.gather(*map(self._stream.get, window), return_exceptions=True)
        messages: list[Message] = []
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
            if answer is None:
                break
            messages.append(answer)
        whole = len(messages) == self._window
        self._window = min(2 * self._window, _WINDOW) if whole else 1
        return messages

    async def _locate(self) -> int:
        """Return the position of the message with the last entry of the copy, 0 for none."""
        head = self._head
        if head is None:
            return 0
        last = await self._stream.last()
        low, high = 1, 0 if last is None else last.position
        while low < high:
            middle = (low + high) // 2
            entries = await self._entries_at(middle)
            low, high = (
                (middle + 1, high) if entries[-1].sequence < head.sequence else (low, middle)
            )
        found = await self._entries_at(low) if high else []
        if not found or found[-1].sequence < head.sequence:
            raise Stalled(
                f"the stream of the witness log lacks entry {head.sequence}, which is in the copy"
                " of this replica: bring back the stream that was there"
            )
        same = next((entry for entry in found if entry.sequence == head.sequence), None)
        if same != head:
            raise Diverged(f"entry {head.sequence} of the copy is not that of the stream")
        return low if found[-1] == head else low - 1

    async def _entries_at(self, position: int) -> list[Entry]:
        message = await self._stream.get(position)
        if message is None:
            raise Stalled(f"message {position} of the stream of the witness log is missing")
        return await asyncio.to_thread(_unpack, message)

    def _break(self, error: Diverged) -> None:
        self._broken = (
            f"the witness log of this replica goes no further than entry {self.sequence}: {error};"
            " compare the copies of all replicas with `infrafabric witness verify --data`"
        )
        self._logger.error("witness_copy_broken", reason=self._broken)
        failure = FabricError(Reason.STORE_UNAVAILABLE, self._broken)
        self._copied.fail(failure)
        self._tail.fail(failure)
        self._tried.advance(sys.maxsize)


def _unpack(message: Message) -> list[Entry]:
    try:
        return unpack(message.payload)
    except ValueError as error:
        raise Diverged(f"message {message.position} of the stream is damaged: {error}") from error


def _following(messages: Sequence[Message], head: Entry | None) -> list[Entry]:
    """Return the entries of `messages` that are beyond `head`. Raises Diverged."""
    found: list[Entry] = []
    for message in messages:
        for entry in _unpack(message):
            if head is not None and not found and entry.sequence <= head.sequence:
                continue
            if reason := misfit(found[-1] if found else head, entry):
                raise Diverged(f"message {message.position} of the stream: {reason}")
            found.append(entry)
    return found
