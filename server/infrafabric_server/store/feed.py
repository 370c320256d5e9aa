"""What changed in some views, for many followers, each with a place that it can come back to."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from pydantic import BaseModel

from infrafabric_server.store.mirror import Mirror
from infrafabric_server.store.progress import Progress
from infrafabric_server.store.protocol import Compacted, KeyValue, Store, WatchBatch
from infrafabric_server.store.recent import Recent
from infrafabric_server.store.view import AnyView, Entry, prefix_of

# Updates that are held for followers which are not far behind: some seconds of a busy
# fabric. Who falls further behind reads the store's history.
_CAPACITY = 8192


@dataclass(frozen=True, slots=True)
class Update:
    """One changed key: `value` is None when it is gone."""

    prefix: str
    id: str
    value: BaseModel | None
    revision: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything, exactly as it was at `revision`, by prefix and in the order of the ids."""

    revision: int
    entries: Mapping[str, Sequence[Entry[BaseModel]]]


@dataclass(frozen=True, slots=True)
class Changes:
    """All updates of one revision, which is the cursor to come back with."""

    revision: int
    updates: tuple[Update, ...]


@dataclass(frozen=True, slots=True)
class Gap:
    """The cursor is unknown or too old: what is missing cannot be told; a Snapshot follows.

    `oldest` is the smallest revision that can still be asked for.
    """

    oldest: int


class Feed:
    """Hands the changes of some views to any number of followers.

    Each change is decoded once, whoever follows. A follower pulls at its own pace from the
    latest changes in memory; one that is too slow for them reads the store's history and
    misses nothing.

    Args:
        store: has the history.
        mirror: has started; it must be running for live changes.
        views: what followers are told of.
        capacity: updates that are held in memory.
    """

    def __init__(
        self, store: Store, mirror: Mirror, views: Sequence[AnyView], capacity: int = _CAPACITY
    ) -> None:
        self._store = store
        self._mirror = mirror
        self._views = {view.prefix: view for view in views}
        self._recent: Recent[Changes] = Recent(mirror.revision, capacity, _weight)
        self._progress = Progress(mirror.revision)
        self._followers = 0
        mirror.follow(self)

    async def follow(self, after: int | None) -> AsyncGenerator[Snapshot | Changes | Gap, None]:
        """Yield a Snapshot and every later change, or every change later than `after`.

        After a Gap comes a Snapshot, and then every later change. Raises StoreClosed when
        the mirror ends, or what broke the mirror.
        """
        self._followers += 1
        try:
            place = after
            if after is not None and after > await self._store.revision():
                yield Gap(self._mirror.revision)
                place = None
            while True:
                if place is None:
                    snapshot = self._snapshot()
                    yield snapshot
                    place = snapshot.revision
                try:
                    async with aclosing(self._later(place)) as later:
                        async for changes in later:
                            yield changes
                            place = changes.revision
                except Compacted as error:
                    yield Gap(error.oldest)
                    place = None
        finally:
            self._followers -= 1

    def take(self, batch: WatchBatch) -> None:
        """Take the next revision from the mirror."""
        if not self._followers:
            # Nobody would read it from memory; a later follower reads the history.
            self._recent.forget(batch.revision)
            return
        updates = self._updates(batch)
        if updates:
            self._recent.append(batch.revision, Changes(batch.revision, updates))
            self._progress.advance(batch.revision)

    def start_over(self, revision: int) -> None:
        """Forget what is before `revision`: the mirror has not seen all of it."""
        self._recent.forget(revision)
        self._progress.advance(revision)

    def end(self, failure: Exception) -> None:
        """End every follower with `failure`."""
        self._progress.fail(failure)

    async def _later(self, place: int) -> AsyncGenerator[Changes, None]:
        while True:
            missed = self._recent.floor
            if place < missed:
                async with aclosing(self._store.watch("", place + 1)) as batches:
                    async for batch in batches:
                        if updates := self._updates(batch):
                            yield Changes(batch.revision, updates)
                        if batch.revision >= missed:
                            break
                place = missed
                continue
            for changes in self._recent.after(place):
                yield changes
                place = changes.revision
            await self._progress.reached(place + 1)

    def _snapshot(self) -> Snapshot:
        entries = {prefix: self._mirror.settled(view) for prefix, view in self._views.items()}
        return Snapshot(self._mirror.revision, entries)

    def _updates(self, batch: WatchBatch) -> tuple[Update, ...]:
        return tuple(
            Update(view.prefix, id_, _model(view, id_, event.kv), batch.revision)
            for event in batch.events
            if (view := self._views.get(prefix_of(event.key))) is not None
            for id_ in (event.key.removeprefix(view.prefix),)
        )


def _model(view: AnyView, id_: str, kv: KeyValue | None) -> BaseModel | None:
    if kv is None:
        return None
    shown = view.entry(id_)
    known = shown is not None and shown.mod_revision == kv.mod_revision
    model: BaseModel = shown.value if shown is not None and known else view.read(kv).value
    return model


def _weight(changes: Changes) -> int:
    return len(changes.updates)
