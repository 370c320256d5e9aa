"""The one thread that writes: it takes all that waits and commits it together."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

import structlog

from infrafabric_server.store.protocol import StoreError, StoreUnavailable, WatchBatch
from infrafabric_server.store.sqlite import statements
from infrafabric_server.store.sqlite.errors import store_error
from infrafabric_server.store.sqlite.group import Answer, Command, Grant, Group, Revoke

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class State:
    """What the writer begins with: the newest revision, and the leases with their ttls."""

    revision: int
    ttls: Mapping[int, float]
    last_lease: int


@dataclass(frozen=True, slots=True)
class Committed:
    """What a group did, for the loop: batches to publish, leases that began and ended."""

    batches: Sequence[WatchBatch]
    granted: dict[int, float]
    revoked: Sequence[int]


@dataclass(frozen=True, slots=True)
class _Job:
    command: Command
    future: asyncio.Future[Answer]


@dataclass(frozen=True, slots=True)
class _Call:
    function: Callable[[sqlite3.Connection], Any]
    future: asyncio.Future[Any]


_Results = Sequence[tuple[asyncio.Future[Any], object]]


class Writer:
    """Commits commands in the order in which they come.

    While one group is made durable, the next one gathers: so each pays for one flush to the
    disk, however many it is. A cancelled caller's command is applied all the same. When a
    group cannot be written, all of its callers get the same error and nothing of it stays.

    Args:
        connection: used by the writer's thread alone from now on.
        state: what is in the database.
        committed: called in the loop after each group, when its callers have their answers.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        state: State,
        committed: Callable[[Committed], None],
    ) -> None:
        self._connection = connection
        self._revision = state.revision
        self._leases = set(state.ttls)
        self._last_lease = state.last_lease
        self._committed = committed
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._queue: SimpleQueue[_Job | _Call | None] = SimpleQueue()
        self._logger = structlog.get_logger(__name__)
        # A daemon: a loop that ends without closing the store must not hang the process.
        self._thread = threading.Thread(target=self._work, name="store-writer", daemon=True)
        self._thread.start()

    async def run(self, command: Command) -> Answer:
        """Commit `command` and return its answer. Raises StoreError."""
        future: asyncio.Future[Answer] = self._loop.create_future()
        self._queue.put(_Job(command, future))
        return await future

    async def call(self, function: Callable[[sqlite3.Connection], T]) -> T:
        """Run `function` in the writer's thread, between two groups. Raises StoreError."""
        future: asyncio.Future[T] = self._loop.create_future()
        self._queue.put(_Call(function, future))
        return await future

    async def stop(self) -> None:
        """Finish what was accepted and end the thread."""
        self._queue.put(None)
        await self._ended

    def _work(self) -> None:
        going = True
        while going:
            jobs, calls, going = self._take()
            if jobs:
                self._post(*self._commit(jobs))
            for call in calls:
                self._post([(call.future, self._call(call))], None)
        self._post([(self._ended, None)], None)

    def _take(self) -> tuple[list[_Job], list[_Call], bool]:
        jobs: list[_Job] = []
        calls: list[_Call] = []
        item = self._queue.get()
        while item is not None:
            if isinstance(item, _Job):
                jobs.append(item)
            else:
                calls.append(item)
            try:
                item = self._queue.get_nowait()
            except Empty:
                return jobs, calls, True
        return jobs, calls, False

    def _commit(self, jobs: Sequence[_Job]) -> tuple[_Results, Committed | None]:
        try:
            group, answers = self._decide([job.command for job in jobs])
            statements.write(self._connection, group)
        except sqlite3.Error as error:
            failure = store_error(error)
        except Exception as error:
            self._logger.exception("store_group_failed")
            failure = StoreUnavailable(f"the group could not be decided: {error!r}")
        else:
            self._revision = group.table.revision
            self._leases = group.table.leases
            self._last_lease = group.last_lease
            futures = [job.future for job in jobs]
            return list(zip(futures, answers, strict=True)), Committed(
                group.batches, group.granted, group.revoked
            )
        # Each caller raises, and so changes, an error of its own.
        return [(job.future, copy(failure)) for job in jobs], None

    def _decide(self, commands: Sequence[Command]) -> tuple[Group, list[Answer]]:
        known = statements.known(self._connection, commands)
        changes_leases = any(isinstance(command, Grant | Revoke) for command in commands)
        leases = set(self._leases) if changes_leases else self._leases
        group = Group(self._revision, leases, self._last_lease, known)
        return group, [group.run(command) for command in commands]

    def _call(self, call: _Call) -> object:
        try:
            return call.function(self._connection)
        except sqlite3.Error as error:
            return store_error(error)
        except Exception as error:
            self._logger.exception("store_call_failed")
            return StoreUnavailable(f"the database could not be used: {error!r}")

    def _post(self, results: _Results, committed: Committed | None) -> None:
        try:
            self._loop.call_soon_threadsafe(self._deliver, results, committed)
        except RuntimeError:
            # The loop is closed: whoever waited is gone.
            self._logger.warning("store_loop_closed", answers=len(results))

    def _deliver(self, results: _Results, committed: Committed | None) -> None:
        for future, result in results:
            # A cancelled caller does not wait any more.
            if future.done():
                continue
            if isinstance(result, StoreError):
                future.set_exception(result)
            else:
                future.set_result(result)
        if committed is not None:
            self._committed(committed)
