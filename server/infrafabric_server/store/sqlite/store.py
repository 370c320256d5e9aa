"""The store in one SQLite file of a data directory."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Self, TypeVar

import structlog

from infrafabric_server.clock import Clock, SystemClock
from infrafabric_server.store.background import Background
from infrafabric_server.store.checks import (
    check_key,
    check_range,
    check_revision,
    check_ttl,
    check_watch,
)
from infrafabric_server.store.closing import Closing
from infrafabric_server.store.leases import LeaseTimer
from infrafabric_server.store.protocol import (
    KeyValue,
    RangeResult,
    StoreError,
    WatchBatch,
)
from infrafabric_server.store.retention import Retention
from infrafabric_server.store.sqlite import upkeep
from infrafabric_server.store.sqlite.datadir import DataDir
from infrafabric_server.store.sqlite.group import Command, Grant, Revoke
from infrafabric_server.store.sqlite.reader import Reader
from infrafabric_server.store.sqlite.writer import Committed, Writer
from infrafabric_server.store.transacting import AnswerT, Transacting
from infrafabric_server.store.transactions import Request
from infrafabric_server.store.watching import Watches

GivenT = TypeVar("GivenT")

# Rows of the log between two checkpoints: some megabytes of write-ahead log.
_CHECKPOINT_ROWS = 1000


class SqliteStore(Transacting):
    """A Store in `fabric.db` of a data directory, for one process; made by `open`.

    What a call acknowledges is on the disk. All writes go through one thread that commits
    together what came together; reads go through others.
    """

    def __init__(
        self,
        directory: DataDir,
        clock: Clock,
        history: float,
        sleep: Callable[[float], Awaitable[object]],
    ) -> None:
        state = directory.state
        self._directory = directory
        self._closing = Closing(self._close)
        self._reader = Reader(directory.readers)
        self._watches = Watches(state.revision, self._reader.history)
        self._leases = LeaseTimer(clock, self._expire, sleep)
        self._leases.add_all(state.ttls)
        self._writer = Writer(directory.connection, state, self._committed)
        self._rows = 0
        self._checkpoint_due = asyncio.Event()
        self._logger = structlog.get_logger(__name__)
        retention = Retention(clock, history, lambda: self._watches.revision, self.compact, sleep)
        self._background = Background()
        self._background.start("lease_timer", self._leases.run)
        self._background.start("history_retention", retention.run)
        self._background.start("checkpoint", self._checkpoint)

    @classmethod
    async def open(
        cls,
        path: Path,
        *,
        clock: Clock | None = None,
        history: float = 600.0,
        quota: int | None = None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> Self:
        """Open the data directory at `path`, or make it, and return a running store.

        Args:
            path: a directory for this store alone; a new one is readable by its owner only.
            clock: measures leases and the age of history; the machine's by default.
            history: seconds for which watches and pinned ranges can look back.
            quota: bytes that `fabric.db` may grow to, beside its write-ahead log; None for
                as many as the disk has.
            sleep: waits for a number of seconds of `clock`.

        Raises:
            StoreRefused: it is in use, of another format, damaged, or not writable.
        """
        opening = asyncio.create_task(asyncio.to_thread(DataDir, path, quota))
        try:
            directory = await asyncio.shield(opening)
        except asyncio.CancelledError:
            # A thread cannot be cancelled: take over what it opened, and let go of it.
            directory = await opening
            directory.close()
            raise
        return cls(directory, clock or SystemClock(), history, sleep)

    async def get(self, key: str) -> KeyValue | None:
        """Return `key` as it is now, or None."""
        check_key(key)
        self._closing.check()
        return await self._reader.get(key)

    async def range(
        self, prefix: str, *, limit: int = 1000, after: str = "", revision: int = 0
    ) -> RangeResult:
        """Return a page of keys, as `Store.range` says."""
        check_range(prefix, after, limit)
        self._closing.check()
        return await self._reader.range(prefix, limit, after, revision)

    def watch(self, prefix: str, start_revision: int) -> AsyncGenerator[WatchBatch, None]:
        """Yield later changes, as `Store.watch` says."""
        check_watch(prefix, start_revision)
        return self._watches.follow(prefix, start_revision)

    async def grant(self, ttl: float) -> int:
        """Create a lease of `ttl` seconds and return its id, durably."""
        check_ttl(ttl)
        return await self._write(Grant(ttl), int)

    async def keepalive(self, lease: int) -> None:
        """Give the lease its whole time again, in memory. Raises LeaseNotFound."""
        self._closing.check()
        self._leases.renew(lease)

    async def revoke(self, lease: int) -> None:
        """End the lease and delete its keys in one change."""
        await self._write(Revoke(lease), int)

    async def compact(self, revision: int) -> None:
        """Forget history before `revision`, and make room of it, in small steps."""
        self._closing.check()
        check_revision(revision, self._watches.revision)
        await self._writer.call(lambda connection: upkeep.compact(connection, revision))
        self._watches.compacted(revision)
        while await self._writer.call(upkeep.sweep):
            self._closing.check()

    async def revision(self) -> int:
        """Return the newest revision that was acknowledged."""
        self._closing.check()
        return self._watches.revision

    async def reachable(self, revision: int) -> int:
        """Return `revision`: watches come to each."""
        return revision

    async def health(self) -> None:
        """Write something, durably. Raises StoreError with the reason if that fails."""
        self._closing.check()
        self._background.check()
        await self._writer.call(upkeep.probe)

    async def close(self) -> None:
        """Finish what was accepted, then release everything. Safe to repeat."""
        await self._closing.close()

    async def _close(self) -> None:
        await self._background.stop()
        self._watches.close()
        await self._writer.stop()
        await self._reader.close()
        await asyncio.to_thread(self._directory.close)

    async def _transact(self, request: Request, answer: type[AnswerT]) -> AnswerT:
        return await self._write(request, answer)

    async def _write(self, command: Command, answer: type[GivenT]) -> GivenT:
        self._closing.check()
        given = await self._writer.run(command)
        assert isinstance(given, answer), f"{command} was answered by {given}"
        return given

    def _committed(self, done: Committed) -> None:
        self._leases.add_all(done.granted)
        for lease in done.revoked:
            self._leases.remove(lease)
        self._watches.publish(done.batches)
        self._rows += sum(len(batch.events) for batch in done.batches)
        if self._rows >= _CHECKPOINT_ROWS:
            self._rows = 0
            self._checkpoint_due.set()

    async def _expire(self, leases: Sequence[int]) -> None:
        # All at once, so that they share a commit; the first error is as good as any.
        await asyncio.gather(*(self._writer.run(Revoke(lease)) for lease in leases))

    async def _checkpoint(self) -> None:
        while True:
            await self._checkpoint_due.wait()
            self._checkpoint_due.clear()
            try:
                # Most of it beside the writer; the rest by the writer itself, which then
                # starts over at the beginning of the write-ahead log.
                await self._reader.run(upkeep.checkpoint)
                await self._writer.call(upkeep.checkpoint)
            except StoreError as error:
                self._logger.warning("checkpoint_failed", reason=str(error))
