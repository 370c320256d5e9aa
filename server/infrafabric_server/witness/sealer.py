"""Moves decisions from the outbox into the log, in the order in which they were decided."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from itertools import islice
from typing import TypeVar

import structlog
from structlog.typing import FilteringBoundLogger

from infrafabric_server.store.progress import Progress
from infrafabric_server.store.protocol import (
    Compacted,
    Delete,
    KeyValue,
    Store,
    StoreFull,
    StoreUnavailable,
)
from infrafabric_server.witness.log import WitnessLog
from infrafabric_server.witness.models import Entry
from infrafabric_server.witness.outbox import PREFIX

ResultT = TypeVar("ResultT")

# Entries in one append and in one deletion; a store takes 4,096 operations.
_BATCH = 1000
# Time in which entries gather before they are sealed. Nobody waits for it (a query does
# not), and each seal costs two syncs of the disk that a decision may have to wait behind.
_GATHER_SECONDS = 0.05
_FIRST_RETRY_SECONDS = 0.1
_LAST_RETRY_SECONDS = 5.0
_PAGE = 10_000


class Sealer:
    """Follows the outbox; its length is the number of decisions that wait to be sealed.

    An entry is first durable in the log, then removed from the outbox. After a crash in
    between it is found in both and only removed. While the log cannot be written, decisions
    wait in the outbox; when it can be written again, they are sealed without further ado.
    """

    def __init__(
        self,
        store: Store,
        log: WitnessLog,
        sealed: Callable[[Sequence[Entry]], None],
        *,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """Take where entries come from, where they go, and who is told of them then.

        `sleep` waits for a number of seconds before something that failed is tried again.
        """
        self._store = store
        self._log = log
        self._tell = sealed
        self._sleep = sleep
        self._logger: FilteringBoundLogger = structlog.get_logger(__name__)
        self._waiting: dict[str, KeyValue] = {}
        # Every decision up to this revision of the store is in the log.
        self._sealed = Progress(0)
        self._flushing = 0
        self._some = asyncio.Event()
        self._hurry = asyncio.Event()

    def __len__(self) -> int:
        return len(self._waiting)

    async def run(self) -> None:
        """Seal what is decided, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow())
            group.create_task(self._seal())

    async def flush(self) -> None:
        """Return when all that was decided before the call is in the log; `run` does the work.

        Waits for as long as the log cannot be written.
        """
        waiting, _ = await _read_outbox(self._store)
        if not waiting:
            return
        newest = waiting[-1].mod_revision
        self._flushing += 1
        self._hurry.set()
        try:
            await self._sealed.reached(newest)
        finally:
            self._flushing -= 1

    async def _follow(self) -> None:
        while True:
            waiting, revision = await self._persist(partial(_read_outbox, self._store))
            self._waiting = {kv.key: kv for kv in waiting}
            if waiting:
                self._some.set()
            # Whenever the watch breaks off, the outbox itself tells what is still to be done.
            try:
                await self._watch(revision + 1)
            except Compacted:
                continue
            except StoreUnavailable as error:
                self._logger.warning("outbox_watch_cut", error=str(error))
                await self._sleep(_FIRST_RETRY_SECONDS)

    async def _watch(self, start: int) -> None:
        async for batch in self._store.watch(PREFIX, start):
            for event in batch.events:
                if event.kv is None:
                    self._waiting.pop(event.key, None)
                else:
                    self._waiting[event.key] = event.kv
                    self._some.set()
            if len(self._waiting) >= _BATCH:
                self._hurry.set()

    async def _seal(self) -> None:
        while True:
            await self._some.wait()
            await self._gather()
            batch = list(islice(self._waiting.values(), _BATCH))
            if not batch:
                self._some.clear()
                continue
            entries = await self._persist(partial(self._log.append, batch))
            self._tell(entries)
            self._advance(batch)
            deletions = [Delete(kv.key) for kv in batch]
            await self._persist(partial(self._store.txn, [], deletions))

    async def _gather(self) -> None:
        if self._flushing or len(self._waiting) >= _BATCH:
            return
        self._hurry.clear()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._hurry.wait(), _GATHER_SECONDS)

    def _advance(self, batch: Sequence[KeyValue]) -> None:
        for kv in batch:
            self._waiting.pop(kv.key, None)
        # The watch brings whole revisions in order: what is not here yet was decided later.
        following = next(iter(self._waiting.values()), None)
        newest = batch[-1].mod_revision if following is None else following.mod_revision - 1
        self._sealed.advance(newest)

    async def _persist(self, step: Callable[[], Awaitable[ResultT]]) -> ResultT:
        """Repeat `step`, which may be repeated, until its disk lets it through."""
        delay = _FIRST_RETRY_SECONDS
        while True:
            try:
                result = await step()
            except (StoreUnavailable, StoreFull) as error:
                if delay == _FIRST_RETRY_SECONDS:
                    self._logger.warning("sealing_waits", error=str(error), waiting=len(self))
                await self._sleep(delay)
                delay = min(2 * delay, _LAST_RETRY_SECONDS)
            else:
                if delay > _FIRST_RETRY_SECONDS:
                    self._logger.info("sealing_goes_on", waiting=len(self))
                return result


async def _read_outbox(store: Store) -> tuple[list[KeyValue], int]:
    """Return what waits in the outbox in the order of decision, and as of which revision."""
    while True:
        page = await store.range(PREFIX, limit=_PAGE)
        found = list(page.kvs)
        # Compacted in the middle: what was read is ten minutes old, so begin anew.
        with suppress(Compacted):
            revision = page.revision
            while page.more:
                page = await store.range(
                    PREFIX, limit=_PAGE, after=found[-1].key, revision=revision
                )
                found.extend(page.kvs)
            return sorted(found, key=lambda kv: (kv.mod_revision, kv.key)), revision
