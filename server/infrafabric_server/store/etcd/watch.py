"""Watches: whole revisions from any member of the cluster, none lost and none repeated."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing, suppress
from itertools import groupby

import structlog
from grpc import aio

from infrafabric_server.store.etcd import rpc
from infrafabric_server.store.etcd.connection import Connection
from infrafabric_server.store.etcd.errors import Verdict, denied, details_of, store_error, verdict
from infrafabric_server.store.etcd.layout import Layout, Span
from infrafabric_server.store.etcd.observer import Observer
from infrafabric_server.store.etcd.wire import etcd_pb2 as pb
from infrafabric_server.store.progress import Progress
from infrafabric_server.store.protocol import (
    Compacted,
    Event,
    StoreClosed,
    StoreDenied,
    StoreError,
    StoreUnavailable,
    WatchBatch,
)


class Assembler:
    """Makes whole revisions of responses, which may be fragments of one.

    A fragment can end in the middle of a revision; the last revision that it has part of
    waits for the rest.
    """

    def __init__(self) -> None:
        self._held: list[pb.Event] = []

    def take(self, response: pb.WatchResponse) -> list[tuple[int, list[pb.Event]]]:
        """Return the revisions that are whole now, with their events."""
        events = [*self._held, *response.events]
        whole = [(revision, list(group)) for revision, group in groupby(events, _revision)]
        self._held = whole.pop()[1] if response.fragment and whole else []
        return whole


class _Cut(Exception):
    """The stream ended, and goes on with another one."""


class _Place:
    """How far one watch is, and whether it was ever permitted."""

    def __init__(self, following: int) -> None:
        self.following = following
        self.permitted = False


class Watcher:
    """Hands out watches, and ends them all when the store is.

    Each is a stream of its own: a consumer that is slow keeps the member from sending, and
    what it missed meanwhile etcd reads from its history.

    Args:
        connection: to the cluster.
        layout: of the fabric's keys.
        observer: hears how far watches are behind.
        ended: called with the fabric's origin, if any, when it is another one by now.
    """

    def __init__(
        self,
        connection: Connection,
        layout: Layout,
        observer: Observer,
        ended: Callable[[Sequence[pb.KeyValue]], None],
    ) -> None:
        self._connection = connection
        self._layout = layout
        self._observer = observer
        self._ended = ended
        # With the place of the member that each goes to.
        self._calls: dict[aio.StreamStreamCall[pb.WatchRequest, pb.WatchResponse], int] = {}
        connection.on_fail_over(self._leave)
        self._whole: set[_Place] = set()
        self._progress = Progress(0)
        self._beginning: list[Callable[[], None]] = []
        self._floor = 0
        self._closed = asyncio.Event()
        self._reason: StoreError = StoreClosed("the store was closed")
        self._logger = structlog.get_logger(__name__)

    @property
    def reached(self) -> int | None:
        """The port's revision up to which every watch of all keys has told all; None for none."""
        if not self._whole:
            return None
        return self._layout.port(min(place.following for place in self._whole) - 1)

    def on_begin(self, hear: Callable[[], None]) -> None:
        """Have `hear` called when a watch of all keys begins."""
        self._beginning.append(hear)

    async def reaches(self, revision: int) -> None:
        """Return when every watch of all keys has told all up to the port's `revision`.

        Raises StoreClosed, or StoreUnavailable when the watches have ended for another reason.
        """
        await self._progress.reached(revision)

    async def follow(self, prefix: str, start_revision: int) -> AsyncGenerator[WatchBatch, None]:
        """Yield what `Store.watch` yields.

        For the empty prefix, a batch without events tells that nothing changed up to its
        revision: the cluster counts what others do, too. One that was permitted once waits for the
        permission to come back.
        """
        place = _Place(self._layout.etcd(start_revision))
        if not prefix:
            self._whole.add(place)
            self._advance()
            for hear in self._beginning:
                hear()
        pause = self._connection.pauses()
        refusals = 0
        try:
            while True:
                try:
                    async with aclosing(self._stream(prefix, place)) as batches:
                        async for batch in batches:
                            pause, refusals = self._connection.pauses(), 0
                            yield batch
                except StoreDenied as error:
                    # An old token looks the same, so it is tried once more with a new one.
                    refusals += 1
                    if refusals > 1 and not place.permitted:
                        raise
                    self._logger.warning("etcd_watch_denied", prefix=prefix, reason=str(error))
                except _Cut as cut:
                    self._logger.warning("etcd_watch_cut", prefix=prefix, reason=str(cut))
                await pause()
        finally:
            self._whole.discard(place)

    def compacted(self, revision: int) -> None:
        """Take notice that nothing before the port's `revision` may be shown any more.

        A watch that is behind may have it on its way still, and would show a part of it.
        """
        self._floor = max(self._floor, revision)

    def end(self, reason: StoreError) -> None:
        """End every watch with `reason`, those as well that are begun later; the first one counts.

        Safe to repeat.
        """
        if not self._closed.is_set():
            self._reason = reason
        self._closed.set()
        closed = isinstance(self._reason, StoreClosed)
        # For who only waits for news, the store is away.
        self._progress.fail(self._reason if closed else StoreUnavailable(str(self._reason)))
        for call in self._calls:
            call.cancel()

    def _leave(self, place: int) -> None:
        # A member that does not answer calls may keep its streams open and say nothing more.
        for call, at in self._calls.items():
            if at == place:
                call.cancel()

    async def oldest(self) -> int:
        """Return the smallest revision of the port that can be asked for, after a compaction.

        Raises StoreUnavailable.
        """
        # etcd names it only to a watch. Its own revision 1 goes with the first compaction, and
        # nobody ever writes the key of the probe.
        deadline, pause = self._connection.deadline(), self._connection.pauses()
        while True:
            try:
                async with aclosing(
                    self._responses(Span(self._layout.probe, b""), _Place(1))
                ) as responses:
                    async for _ in responses:
                        pass
            except Compacted as error:
                return error.oldest
            except _Cut as cut:
                if self._connection.late(deadline):
                    raise StoreUnavailable(f"etcd did not answer: {cut}") from cut
            await pause()

    async def _stream(self, prefix: str, place: _Place) -> AsyncGenerator[WatchBatch, None]:
        assembler = Assembler()
        whole = not prefix
        async with aclosing(self._responses(self._layout.watched(prefix), place)) as responses:
            async for response in responses:
                for batch in self._batches(response, assembler, place, whole=whole):
                    yield batch

    def _batches(
        self, response: pb.WatchResponse, assembler: Assembler, place: _Place, *, whole: bool
    ) -> Iterator[WatchBatch]:
        newest = response.header.revision
        if not response.events and not response.fragment:
            # A notice of progress: everything up to here was sent. The header of a response
            # with events does not say that, as it may be newer than events that follow.
            if newest >= place.following:
                place.following = newest + 1
                if whole:
                    self._advance()
                    yield WatchBatch(self._layout.port(newest))
            return
        for revision, events in assembler.take(response):
            if revision < place.following:
                continue
            self._look(revision, events)
            batch = WatchBatch(self._layout.port(revision), tuple(self._events(events)))
            if batch.revision < self._floor:
                raise Compacted(self._floor)
            # Taken when it is handed over: who comes back for the next one has it.
            place.following = revision + 1
            if whole:
                self._advance()
            self._observer.watch_lag(max(0, newest - revision))
            if batch.events or whole:
                yield batch

    def _advance(self) -> None:
        reached = self.reached
        if reached is not None:
            self._progress.advance(reached)

    def _look(self, revision: int, events: Sequence[pb.Event]) -> None:
        if revision <= self._layout.settled:
            return
        for event in events:
            if event.kv.key == self._layout.origin:
                self._ended([] if event.type == pb.Event.DELETE else [event.kv])
                self._check_open()

    async def _look_up(self) -> None:
        # What was changed before may lie in a part of the history that is gone.
        request = pb.RangeRequest(key=self._layout.origin)
        answer = await self._connection.call(rpc.RANGE, request)
        if not answer.kvs or answer.kvs[0].mod_revision != self._layout.settled:
            self._ended(answer.kvs)
            self._check_open()

    def _events(self, events: Sequence[pb.Event]) -> Iterator[Event]:
        for event in sorted(events, key=_key):
            key = self._layout.text(event.kv.key)
            if key is not None:
                deleted = event.type == pb.Event.DELETE
                yield Event(key, None if deleted else self._layout.kv(event.kv))

    async def _responses(self, span: Span, place: _Place) -> AsyncGenerator[pb.WatchResponse, None]:
        # From one earlier than what is wanted: when etcd compacts at a revision, that revision
        # itself can lose its deletions (before 3.4.36 and 3.5.20), so it counts as gone.
        create = pb.WatchCreateRequest(
            key=span.start,
            range_end=span.end,
            start_revision=max(1, place.following - 1),
            progress_notify=True,
            fragment=True,
        )
        token = ""
        call = None
        at = 0
        try:
            token = await self._connection.token()
            call, at = self._connection.stream(rpc.WATCH, self._connection.metadata(token))
            self._calls[call] = at
            async with asyncio.timeout(self._connection.attempt):
                await self._sent(call, pb.WatchRequest(create_request=create))
                response = await call.read()
            await self._look_up()
            while isinstance(response, pb.WatchResponse):
                self._check(response, token)
                place.permitted = True
                if not response.created:
                    yield response
                response = await call.read()
        except TimeoutError:
            self._connection.fail_over(at, "a watch was not answered in time")
            raise _Cut("the member did not answer in time") from None
        except aio.AioRpcError as error:
            meaning = verdict(error)
            self._check_open()
            if meaning is Verdict.LOGIN:
                self._connection.forget(token)
            if meaning in (Verdict.LOGIN, Verdict.DENIED):
                raise store_error(error) from error
            self._connection.fail_over(at, details_of(error))
            raise _Cut(details_of(error)) from error
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or not task.cancelling():
                # It is the call that was cancelled.
                self._check_open()
                raise _Cut("the call was cancelled") from None
            raise
        finally:
            if call is not None:
                self._calls.pop(call, None)
                call.cancel()
        self._check_open()
        raise _Cut("the member ended the stream")

    async def _sent(
        self,
        call: "aio.StreamStreamCall[pb.WatchRequest, pb.WatchResponse]",
        request: pb.WatchRequest,
    ) -> None:
        # A call that is cancelled before it is connected leaves its writer waiting for ever.
        writing = asyncio.ensure_future(call.write(request))
        closed = asyncio.ensure_future(self._closed.wait())
        try:
            await asyncio.wait((writing, closed), return_when=asyncio.FIRST_COMPLETED)
            self._check_open()
            # One that has failed already takes nothing more: the reader is told how it ended.
            with suppress(asyncio.InvalidStateError):
                await writing
        finally:
            writing.cancel()
            closed.cancel()

    def _check(self, response: pb.WatchResponse, token: str) -> None:
        if response.compact_revision:
            raise Compacted(self._layout.port(response.compact_revision + 1))
        if not response.canceled:
            return
        if "permission denied" in response.cancel_reason:
            self._connection.forget(token)
            raise denied(response.cancel_reason)
        raise _Cut(response.cancel_reason or "the member cancelled the watch")

    def _check_open(self) -> None:
        if self._closed.is_set():
            # Each raises, and so changes, an error of its own.
            raise type(self._reason)(*self._reason.args)


def _revision(event: pb.Event) -> int:
    return event.kv.mod_revision


def _key(event: pb.Event) -> bytes:
    return event.kv.key
