"""Moves decisions from the outbox into the log, in the order in which they were decided."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

import structlog
from structlog.typing import FilteringBoundLogger

from infrafabric_server.fleet.leadership import Leadership, while_leading
from infrafabric_server.store.mirror import Mirror
from infrafabric_server.store.protocol import (
    Delete,
    Put,
    Store,
    StoreDenied,
    StoreFull,
    StoreUnavailable,
)
from infrafabric_server.witness.appender import Appender
from infrafabric_server.witness.models import Entry, Sealed
from infrafabric_server.witness.outbox import PREFIX
from infrafabric_server.witness.waiting import Waiting, put_sealed, read_outbox

# Entries in one append and in one deletion; a store takes 8,192 operations.
_BATCH = 1000
# Time in which entries gather before they are sealed. Nobody waits for it (a query does not; who
# follows the log sees them that much later), and each seal costs two syncs of the disk and a
# transaction that a decision may have to wait behind.
_GATHER_SECONDS = 0.2
_FIRST_RETRY_SECONDS = 0.1
# Well within the time that a query waits for the log.
_LAST_RETRY_SECONDS = 1.0


class Sealer:
    """Follows the outbox; its length is the number of decisions that wait to be sealed.

    Every replica follows, and the one that leads seals. An entry is first durable in the log,
    then removed from the outbox, and only then the next one is appended. After a crash, or a
    change of leader, in between it is found in both and only removed. While the log cannot be
    written, decisions wait in the outbox; when it can be written again, they are sealed
    without further ado.

    That nothing is sealed twice, whoever else believes to lead:

    1. Nobody appends before what the last append holds has left the outbox. So what an earlier
       append holds left it before the last one was made.
    2. `Appender.begin` finds the last append, and the outbox is read after that. So what was
       read holds nothing of earlier appends, and what it holds of the last one the appender
       knows and does not seal again.
    3. Then only this process appends: when another one does, the next append here is refused,
       and leads back to `begin`. What it removed never comes back, see `Waiting`.

    The fence is for what comes after: a leader that was followed and does not know it may
    append once. It cannot remove that, so it appends no more, and the record of how far the
    log goes never goes back.
    """

    def __init__(
        self,
        store: Store,
        mirror: Mirror,
        appender: Appender,
        leadership: Leadership,
        *,
        ask: Callable[[], None] = lambda: None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """Take where entries come from, where they go, and what tells whether to move them.

        `mirror` tells what happens in `store`, and must run while `run` does. `ask` is called
        when somebody waits for what another replica has to seal; there it leads to `hurry`.
        `sleep` waits for seconds before what failed is tried again.
        """
        self._store = store
        self._appender = appender
        self._leadership = leadership
        self._ask = ask
        self._sleep = sleep
        self._logger: FilteringBoundLogger = structlog.get_logger(__name__)
        self._waiting = Waiting(self._notice)
        self._listeners: list[Callable[[Sealed], None]] = []
        self._told = 0
        # Whether what waits here is all of the outbox, and nothing of it is in the log.
        self._certain = False
        self._flushing = 0
        self._some = asyncio.Event()
        self._hurry = asyncio.Event()
        mirror.follow(self._waiting)
        # A mirror that has started does not say so again.
        self._waiting.start_over(mirror.revision)

    def __len__(self) -> int:
        return len(self._waiting)

    def follow(self, listener: Callable[[Sealed], None]) -> None:
        """Call `listener`, in the event loop, whenever the log is known to go further."""
        self._listeners.append(listener)

    def hurry(self) -> None:
        """Seal what waits without letting more of it gather."""
        self._hurry.set()

    async def run(self) -> None:
        """Seal what is decided while this process leads, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._read())
            group.create_task(while_leading(self._leadership, self._seal))

    async def flush(self) -> int:
        """Return when all that was decided before the call is in the log; `run` does the work.

        Returns a sequence up to which that is, 0 when nothing was ever sealed. Waits for as
        long as the log cannot be written. Raises StoreError when the store cannot be read, and
        what the mirror ended with.
        """
        state = await read_outbox(self._store)
        if not state.waiting:
            return _sequence(state.sealed)
        self._flushing += 1
        self._hurry.set()
        if not self._leadership.leading:
            self._ask()
        try:
            await self._waiting.settled.reached(state.waiting[-1].mod_revision)
        finally:
            self._flushing -= 1
        return _sequence(self._waiting.sealed)

    async def _read(self) -> None:
        while True:
            await self._waiting.gap.wait()
            await self._persist(self._load)

    async def _load(self) -> None:
        if not self._waiting.load(await read_outbox(self._store)):
            raise StoreUnavailable("the store answered with what was so before")

    def _notice(self) -> None:
        waiting = self._waiting
        if waiting:
            self._some.set()
        if len(waiting) >= _BATCH:
            self._hurry.set()
        if waiting.sealed is not None and waiting.sealed.sequence > self._told:
            self._told = waiting.sealed.sequence
            for listener in self._listeners:
                listener(waiting.sealed)

    async def _seal(self) -> None:
        self._certain = False
        while True:
            await self._some.wait()
            await self._gather()
            await self._persist(self._seal_some)

    async def _gather(self) -> None:
        if not self._flushing and len(self._waiting) < _BATCH:
            with suppress(TimeoutError):
                # Not wait_for: until Python 3.12 it can take a cancellation for an answer.
                async with asyncio.timeout(_GATHER_SECONDS):
                    await self._hurry.wait()
        self._hurry.clear()

    async def _seal_some(self) -> None:
        if not self._leadership.leading:
            raise StoreUnavailable("this replica does not lead any more")
        if not self._certain:
            self._waiting.doubt()
            # In this order; see above.
            await self._appender.begin(self._waiting.sealed)
            await self._load()
        batch = self._waiting.first(_BATCH)
        if not batch:
            self._certain = True
            self._some.clear()
            return
        self._certain = False
        entries = await self._appender.append(batch)
        keys = [PREFIX + entry.entry_id for entry in entries]
        self._waiting.seal(keys, _end(entries))
        await self._remove(keys)
        self._certain = True

    async def _remove(self, keys: Sequence[str]) -> None:
        changes: list[Delete | Put] = [Delete(key) for key in keys]
        if self._waiting.sealed is not None:
            changes.append(put_sealed(self._waiting.sealed))
        result = await self._store.txn(self._leadership.fence(), changes)
        if not result.succeeded:
            raise StoreUnavailable("another replica leads by now")
        self._waiting.removed(keys, result.revision)

    async def _persist(self, step: Callable[[], Awaitable[None]]) -> None:
        """Repeat `step`, which may be repeated, until its disk lets it through."""
        delay = _FIRST_RETRY_SECONDS
        told: set[str] = set()
        while True:
            try:
                await step()
            except (StoreUnavailable, StoreDenied, StoreFull) as error:
                # The first reason may only be what the true one shows itself by.
                if str(error) not in told:
                    told.add(str(error))
                    self._logger.warning("sealing_waits", error=str(error), waiting=len(self))
                await self._sleep(delay)
                delay = min(2 * delay, _LAST_RETRY_SECONDS)
            else:
                if delay > _FIRST_RETRY_SECONDS:
                    self._logger.info("sealing_goes_on", waiting=len(self))
                return


def _end(entries: Sequence[Entry]) -> Sealed:
    return Sealed(sequence=entries[-1].sequence, hash=entries[-1].hash)


def _sequence(sealed: Sealed | None) -> int:
    return 0 if sealed is None else sealed.sequence
