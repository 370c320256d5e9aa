"""Views of the store in memory: loaded once, then kept up by one watch and by own commits."""

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import structlog
from pydantic import BaseModel

from infrafabric_server.store.following import Announcer, Follower
from infrafabric_server.store.loading import read_views
from infrafabric_server.store.progress import Progress
from infrafabric_server.store.protocol import (
    Compacted,
    Compare,
    Event,
    FoldResult,
    Get,
    KeyValue,
    Member,
    Op,
    Put,
    Store,
    StoreClosed,
    StoreDenied,
    StoreUnavailable,
    TxnResult,
    WatchBatch,
)
from infrafabric_server.store.view import AnyView, Change, Entry, View, ViewPut, Write, prefix_of

__all__ = ["Change", "Entry", "Mirror", "View", "ViewPut", "Write"]

ModelT = TypeVar("ModelT", bound=BaseModel)
AnyEntry = Entry[Any]
_RETRY_SECONDS = 1.0
# Revisions that a store may be ahead of a late watch for what is heard of it to be believed.
_FURTHEST = 100_000


@dataclass(slots=True)
class _Ahead:
    """A key that a commit is known to have changed at `revision`, before the watch came there.

    `settled` is the key as it was at the watch's revision, decoded or not. `confirmed` is set
    when the watch has brought the change, too: one that was only heard of may never have been.
    """

    revision: int
    settled: AnyEntry | KeyValue | None
    confirmed: bool = False


class Mirror:
    """Keeps typed views of a store.

    Declare the views, `start`, and let a TaskGroup own `run`. A view holds every change
    up to `revision`, and beyond it what was committed through this mirror. For each key
    it never goes back. A view may still be behind the store: a transaction has to compare
    the revisions of what was decided on.
    """

    def __init__(
        self, store: Store, *, shared: bool = False, retry_seconds: float = _RETRY_SECONDS
    ) -> None:
        """Take the store; `shared` tells whether other processes change it, too.

        A store that does not answer when the views must be loaded anew is asked again after
        `retry_seconds`.
        """
        self._store = store
        self._retry_seconds = retry_seconds
        self.shared = shared
        self._asking = asyncio.Lock()
        self._question: asyncio.Task[int] | None = None
        self._views: dict[str, AnyView] = {}
        self._progress = Progress(0)
        self._ahead: dict[str, _Ahead] = {}
        self._own: deque[tuple[int, str]] = deque()
        self._followers: list[Follower] = []
        self._announcers: list[Announcer] = []
        self._ended = asyncio.Event()
        self._stopped = asyncio.Event()
        self._stopped.set()
        self._failure: Exception | None = None
        self._logger = structlog.get_logger(__name__)

    @property
    def revision(self) -> int:
        """The revision up to which the views hold every change."""
        return self._progress.newest

    def view(self, prefix: str, model: type[ModelT]) -> View[ModelT]:
        """Return a new view of all keys under `prefix`, to be called before `start`.

        `prefix` ends with the only slash in it. Raises ValueError for another one, or one
        that has a view already.
        """
        if not 0 < prefix.find("/") == len(prefix) - 1 or prefix in self._views:
            raise ValueError(f"{prefix!r} is not the unused name of a group of keys with its slash")
        view = View(prefix, model)
        self._views[prefix] = view
        return view

    async def start(self) -> None:
        """Load the views. Listeners that have subscribed hear each key as a change from None.

        Raises StoreError; StoreRefused if a value is not of its view's model.
        """
        await self._load()

    async def run(self) -> None:
        """Follow the store until `close`.

        Raises what a listener raised, StoreRefused for a value that is not of its view's
        model, StoreClosed when the store ends first, and other errors of the store.
        """
        self._stopped.clear()
        following = asyncio.create_task(self._follow(), name="mirror_watch")
        ended = asyncio.create_task(self._ended.wait(), name="mirror_end")
        try:
            await asyncio.wait((following, ended), return_when=asyncio.FIRST_COMPLETED)
        finally:
            following.cancel()
            ended.cancel()
            await asyncio.wait((following, ended))
            self._stopped.set()
        if self._failure is not None:
            raise self._failure
        if not following.cancelled():
            following.result()

    async def close(self) -> None:
        """End `run`, and with StoreClosed whoever waits in `caught_up`. Safe to repeat."""
        self._end(StoreClosed("the views of the store were closed"))
        await self._stopped.wait()

    async def caught_up(self, revision: int) -> None:
        """Return when the views hold every change up to `revision`. Raises StoreClosed."""
        await self._progress.reached(revision)

    async def catch_up(self) -> bool:
        """Have the views hold all that was acknowledged, by any process, before this call.

        Returns whether they may have changed by it. Raises the store's errors.
        """
        if not self.shared:
            return False
        before = self.revision
        if self._question is None:
            self._question = asyncio.create_task(self._ask())
            # Whoever asked may be gone by the time that the store refuses.
            self._question.add_done_callback(lambda done: done.cancelled() or done.exception())
        await self.caught_up(await asyncio.shield(self._question))
        return self.revision > before

    async def commit(
        self, compares: Sequence[Compare], success: Sequence[Op], failure: Sequence[Op] = ()
    ) -> TxnResult:
        """Apply a transaction, as `Store.txn` does, and show what it changed in the views.

        When this returns, listeners have been called. After an error or a cancellation the
        views show what really happened as soon as the watch brings it.
        """
        result = await self._store.txn(compares, success, failure)
        self._applied(success if result.succeeded else failure, result.revision)
        return result

    async def fold(
        self, guard: Sequence[Compare], writes: Sequence[Write], members: Sequence[Member]
    ) -> FoldResult:
        """Apply a fold, as `Store.fold` does, and show what it changed, as `commit` does."""
        result = await self._store.fold(guard, writes, members)
        if result.succeeded:
            ops: list[Op] = [*writes]
            for member, each in zip(members, result.members, strict=True):
                ops += member.success if each.succeeded else member.failure
            self._applied(ops, result.revision)
        return result

    def announce(self, listener: Announcer) -> None:
        """Tell `listener` of every own commit that changed a view: its revision and its writes."""
        self._announcers.append(listener)

    def hear(self, revision: int, writes: Sequence[Write]) -> None:
        """Show what another process says that it has written at `revision`.

        The watch brings it, too, so it may get lost, come late or twice. Nothing is believed that
        is further ahead than a store gets while a watch is late. Raises StoreRefused for a value
        that is not of its view's model.
        """
        if self.revision < revision <= self.revision + _FURTHEST:
            self._show(writes, revision)

    def _applied(self, ops: Sequence[Op], revision: int) -> None:
        writes = [op for op in ops if not isinstance(op, Get)]
        if revision > self.revision:
            self._show(writes, revision)
        if self._announcers and writes:
            shown = [op for op in writes if self._view_of(op.key) is not None]
            for announce in self._announcers:
                announce(revision, shown)

    def follow(self, follower: Follower) -> None:
        """Tell `follower` of each revision from now on, in order, when the views hold it."""
        self._followers.append(follower)

    def settled(self, view: View[ModelT]) -> list[Entry[ModelT]]:
        """Return all entries of `view` in order, exactly as they were at `revision`."""
        entries = view.page("", len(view))
        ahead = {
            key.removeprefix(view.prefix): each.settled
            for key, each in self._ahead.items()
            if each.revision > self.revision and key.startswith(view.prefix)
        }
        if not ahead:
            return entries
        settled = {entry.id: entry for entry in entries if entry.id not in ahead}
        for id_, entry in ahead.items():
            if entry is not None:
                settled[id_] = view.read(entry) if isinstance(entry, KeyValue) else entry
        return [settled[id_] for id_ in sorted(settled)]

    async def _ask(self) -> int:
        async with self._asking:
            # Who comes from now on needs an answer to a later question.
            self._question = None
            newest = await self._store.revision()
        return newest if newest <= self.revision else await self._store.reachable(newest)

    async def _follow(self) -> None:
        while True:
            try:
                async with aclosing(self._store.watch("", self.revision + 1)) as batches:
                    async for batch in batches:
                        self._take(batch)
            except Compacted as error:
                self._logger.warning(
                    "mirror_behind_history", revision=self.revision, reason=str(error)
                )
                await self._load_again()

    async def _load_again(self) -> None:
        while True:
            try:
                await self._load()
            except (StoreUnavailable, StoreDenied) as error:
                self._logger.warning("mirror_load_put_off", reason=str(error))
                await asyncio.sleep(self._retry_seconds)
            else:
                return

    def _show(self, ops: Sequence[Write], revision: int) -> None:
        changes: list[tuple[AnyView, Change[Any]]] = []
        for op in ops:
            view = self._view_of(op.key)
            if view is None:
                continue
            id_ = op.key.removeprefix(view.prefix)
            known = view.entry(id_)
            ahead = self._ahead.get(op.key)
            if ahead is None or ahead.revision <= self.revision:
                self._ahead[op.key] = _Ahead(revision, known)
            elif ahead.revision < revision:
                ahead.revision, ahead.confirmed = revision, False
            else:
                continue
            self._own.append((revision, op.key))
            change = view.replace(id_, _written(view, op, known, revision), revision)
            if change is not None:
                changes.append((view, change))
        self._tell(changes)

    def _take(self, batch: WatchBatch) -> None:
        fresh = [
            (view, event.key.removeprefix(view.prefix), view.read(event.kv) if event.kv else None)
            for event in batch.events
            if (view := self._view_of(event.key)) is not None
            and not self._take_own(view, event, batch.revision)
        ]
        changes = [(view, view.replace(id_, entry, batch.revision)) for view, id_, entry in fresh]
        changes += self._settle(batch.revision)
        self._tell((view, change) for view, change in changes if change is not None)
        for follower in self._followers:
            follower.take(batch)

    def _take_own(self, view: AnyView, event: Event, revision: int) -> bool:
        ahead = self._ahead.get(event.key)
        if ahead is None or ahead.revision < revision:
            return False
        ahead.settled = event.kv
        ahead.confirmed = ahead.revision == revision
        id_ = event.key.removeprefix(view.prefix)
        shown = view.entry(id_)
        # Whether the key was new is known for sure only now.
        if (
            shown is not None
            and event.kv is not None
            and ahead.revision == revision
            and shown.create_revision != event.kv.create_revision
        ):
            view.replace(id_, replace(shown, create_revision=event.kv.create_revision), revision)
        return True

    async def _load(self) -> None:
        revision, found = await read_views(self._store, self._views.values())
        changes: list[tuple[AnyView, Change[Any]]] = []
        for view in self._views.values():
            entries = found.get(view.prefix, {})
            ahead = {
                key.removeprefix(view.prefix): each
                for key, each in self._ahead.items()
                if each.revision > revision and key.startswith(view.prefix)
            }
            for id_, each in ahead.items():
                each.settled = entries.get(id_)
            for id_ in [*(id_ for id_ in view if id_ not in entries), *entries]:
                if id_ in ahead:
                    continue
                old, new = view.entry(id_), entries.get(id_)
                change = view.replace(id_, new, revision)
                same = old is not None and new is not None and old.mod_revision == new.mod_revision
                if change is not None and not same:
                    changes.append((view, change))
        for each in self._ahead.values():
            each.confirmed = each.confirmed or each.revision <= revision
        self._settle(revision)
        self._tell(changes)
        for follower in self._followers:
            follower.start_over(revision)

    def _settle(self, revision: int) -> list[tuple[AnyView, Change[Any] | None]]:
        """Note that the views hold all up to `revision`; return what had to be taken back."""
        self._progress.advance(revision)
        back: list[tuple[AnyView, Change[Any] | None]] = []
        while self._own and self._own[0][0] <= revision:
            key = self._own.popleft()[1]
            ahead = self._ahead.get(key)
            if ahead is None or ahead.revision > revision:
                continue
            del self._ahead[key]
            view = self._view_of(key)
            if view is not None and not ahead.confirmed:
                settled = ahead.settled
                entry = view.read(settled) if isinstance(settled, KeyValue) else settled
                back.append((view, view.replace(key.removeprefix(view.prefix), entry, revision)))
        return back

    def _tell(self, changes: Iterable[tuple[AnyView, Change[Any]]]) -> None:
        for view, change in changes:
            try:
                view.tell(change)
            except Exception as error:
                # The commit that set it off has succeeded: `run` is where it surfaces.
                self._logger.exception("view_listener_failed", prefix=view.prefix, id=change.id)
                self._end(error)

    def _end(self, failure: Exception) -> None:
        if not isinstance(failure, StoreClosed):
            self._failure = self._failure or failure
        self._progress.fail(failure)
        for follower in self._followers:
            follower.end(failure)
        self._ended.set()

    def _view_of(self, key: str) -> AnyView | None:
        return self._views.get(prefix_of(key))


def _written(view: AnyView, op: Write, known: AnyEntry | None, revision: int) -> AnyEntry | None:
    if not isinstance(op, Put):
        return None
    created = known.create_revision if known else revision
    kv = KeyValue(op.key, op.value, created, revision, version=0, lease=op.lease)
    return view.read(kv, op.model if isinstance(op, ViewPut) else None)
