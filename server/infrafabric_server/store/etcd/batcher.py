"""Sends transactions in batches: those that come while others are on their way go together."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog
from grpc import aio

from infrafabric_server.clock import Clock
from infrafabric_server.store.etcd import rpc
from infrafabric_server.store.etcd.connection import Connection
from infrafabric_server.store.etcd.encoding import (
    Lane,
    batch_answers,
    batch_request,
    left_evidence,
)
from infrafabric_server.store.etcd.errors import Verdict, store_error, verdict
from infrafabric_server.store.etcd.layout import Layout
from infrafabric_server.store.etcd.observer import Observer
from infrafabric_server.store.etcd.outcome import decided, settle
from infrafabric_server.store.etcd.planning import Footprint, Limits, footprint, plan
from infrafabric_server.store.etcd.wire import etcd_pb2 as pb
from infrafabric_server.store.protocol import (
    FoldResult,
    Put,
    StoreClosed,
    StoreError,
    StoreUnavailable,
)
from infrafabric_server.store.transactions import Answer, Request

# What makes etcd refuse a batch for the sake of one member: they are tried apart.
_ONE_IS_BAD = (Verdict.NO_LEASE, Verdict.TOO_MANY, Verdict.TOO_LARGE, Verdict.DENIED, Verdict.BAD)


@dataclass(slots=True)
class _Waiting:
    footprint: Footprint
    future: asyncio.Future[Answer]
    deadline: float

    @property
    def leased(self) -> bool:
        return any(isinstance(op, Put) and op.lease for op in self.footprint.request.ops)


class Batcher:
    """Sends what waits, at most one batch for each lane at a time.

    Nothing is delayed for the sake of company: a lane that is free takes all that waits at
    once. A cancelled caller's transaction is applied all the same, once it was sent.

    Args:
        connection: to the cluster.
        layout: of the fabric's keys.
        lanes: keys of the lanes, which belong to nobody else.
        new_lane: returns the key for a lane whose last batch could not be settled.
        clock: only its monotonic time is used.
        unchanged: called with the port's revision of each batch that changed nothing.
        ended: called with the fabric's origin, if any, when it is another one by now.
        observer: hears of each batch.
        limits: of a batch.
    """

    def __init__(
        self,
        connection: Connection,
        layout: Layout,
        lanes: int,
        new_lane: Callable[[], bytes],
        clock: Clock,
        unchanged: Callable[[int], None],
        ended: Callable[[Sequence[pb.KeyValue]], None],
        observer: Observer,
        limits: Limits,
    ) -> None:
        self._connection = connection
        self._layout = layout
        self._new_lane = new_lane
        self._clock = clock
        self._unchanged = unchanged
        self._ended = ended
        self._observer = observer
        self._limits = limits
        self._queue: deque[_Waiting] = deque()
        self._arrived = asyncio.Event()
        self._stopping = False
        self._logger = structlog.get_logger(__name__)
        self._workers = [
            asyncio.create_task(self._work(), name=f"etcd_lane_{number}") for number in range(lanes)
        ]

    def run(self, request: Request) -> asyncio.Future[Answer]:
        """Apply `request` and return its answer to come. Raises StoreClosed."""
        if self._stopping:
            raise StoreClosed("the store was closed")
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._queue.append(_Waiting(footprint(request), future, self._connection.deadline()))
        self._arrived.set()
        return future

    def check(self) -> None:
        """Raise StoreUnavailable if a lane broke."""
        for worker in self._workers:
            if worker.done() and not self._stopping:
                raise StoreUnavailable(f"{worker.get_name()} broke; restart the server")

    async def stop(self) -> None:
        """Finish what was accepted."""
        self._stopping = True
        self._arrived.set()
        await asyncio.wait(self._workers)

    async def _work(self) -> None:
        lane = Lane(self._new_lane())
        while True:
            while not self._queue:
                if self._stopping:
                    return
                self._arrived.clear()
                await self._arrived.wait()
            batch = self._take()
            if batch:
                lane = await self._serve(lane, batch)

    def _take(self) -> list[_Waiting]:
        while self._queue and self._queue[0].future.done():
            self._queue.popleft()
        if not self._queue:
            return []
        places = plan((waiting.footprint for waiting in self._queue), self._limits)
        if len(places) == len(self._queue):
            batch = list(self._queue)
            self._queue.clear()
        else:
            chosen = set(places)
            looked = [self._queue.popleft() for _ in range(places[-1] + 1)]
            batch = [looked[place] for place in places]
            self._queue.extendleft(
                looked[place] for place in reversed(range(len(looked))) if place not in chosen
            )
        return [waiting for waiting in batch if not waiting.future.done()]

    async def _serve(self, lane: Lane, batch: Sequence[_Waiting]) -> Lane:
        try:
            await self._send(lane, batch)
        except StoreError as error:
            self._fail(batch, error)
        except Exception as error:
            self._logger.exception("etcd_batch_failed")
            self._fail(batch, StoreUnavailable(f"the batch could not be decided: {error!r}"))
        else:
            return lane
        # Its last batch may still be on its way: nothing more goes through this one.
        self._give_up()
        return Lane(self._new_lane())

    async def _send(self, lane: Lane, batch: Sequence[_Waiting]) -> None:
        pause = self._connection.pauses()
        deadline = self._connection.deadline()
        while not await self._attempt(lane, batch):
            if self._connection.late(deadline):
                raise StoreUnavailable("etcd did not take the transaction; nothing was applied")
            await pause()

    async def _attempt(self, lane: Lane, batch: Sequence[_Waiting]) -> bool:
        # True when everyone has an answer; False when nothing was applied and never will be.
        requests = [waiting.footprint.request for waiting in batch]
        lane.number += 1
        began, left = self._clock.monotonic(), len(self._queue)
        try:
            response = await self._connection.call(
                rpc.TXN, batch_request(self._layout, lane, requests)
            )
        except aio.AioRpcError as error:
            meaning = verdict(error)
            if meaning is Verdict.UNKNOWN:
                return await self._settled(lane, batch, began)
            if meaning is Verdict.AGAIN:
                return False
            if meaning in _ONE_IS_BAD and len(batch) > 1:
                await self._send_apart(lane, batch)
            else:
                self._fail(batch, store_error(error))
            return True
        if not response.succeeded:
            return await self._found(lane, batch, response)
        answers = batch_answers(self._layout, response, requests)
        seconds = self._clock.monotonic() - began
        self._observer.batch(len(batch), left, _conflicts(answers), seconds)
        if left_evidence(response, requests):
            lane.changed = response.header.revision
        else:
            self._unchanged(self._layout.port(response.header.revision))
        self._answer(batch, answers)
        return True

    async def _found(self, lane: Lane, batch: Sequence[_Waiting], response: pb.TxnResponse) -> bool:
        origin = response.responses[1].response_range.kvs
        if not origin or origin[0].mod_revision != self._layout.settled:
            self._ended(origin)
            raise StoreUnavailable("the fabric is not the one that was opened any more")
        # Nobody else uses the lane's key: it was swept away, or a copy of this very request,
        # which something on the way made, was faster.
        found = response.responses[0].response_range.kvs
        lane.changed = found[0].mod_revision if found else 0
        if not found or found[0].value != lane.evidence:
            return False
        await self._read_back(batch, lane.changed)
        return True

    async def _settled(self, lane: Lane, batch: Sequence[_Waiting], began: float) -> bool:
        revision = await settle(self._connection, lane, self._connection.deadline())
        self._observer.uncertain(self._clock.monotonic() - began, applied=revision > 0)
        if revision:
            await self._read_back(batch, revision)
        return revision > 0

    async def _read_back(self, batch: Sequence[_Waiting], revision: int) -> None:
        requests = [waiting.footprint.request for waiting in batch]
        self._answer(batch, await decided(self._connection, self._layout, requests, revision))

    async def _send_apart(self, lane: Lane, batch: Sequence[_Waiting]) -> None:
        # A dead lease is the usual reason, and only those who use one can be to blame.
        leased = [waiting for waiting in batch if waiting.leased]
        others = [waiting for waiting in batch if not waiting.leased]
        if not leased or not others:
            leased, others = list(batch), []
        if others:
            await self._send(lane, others)
        for waiting in leased:
            await self._send(lane, [waiting])

    def _answer(self, batch: Sequence[_Waiting], answers: Sequence[Answer]) -> None:
        for waiting, answer in zip(batch, answers, strict=True):
            if not waiting.future.done():
                waiting.future.set_result(answer)

    def _fail(self, batch: Sequence[_Waiting], error: StoreError) -> None:
        for waiting in batch:
            if not waiting.future.done():
                # Each caller raises, and so changes, an error of its own.
                own = type(error)(*error.args)
                waiting.future.set_exception(own)

    def _give_up(self) -> None:
        # Who has waited as long as the one that failed is told so, and not in turn.
        late = [waiting for waiting in self._queue if self._connection.late(waiting.deadline)]
        for waiting in late:
            self._queue.remove(waiting)
        self._fail(late, StoreUnavailable("etcd did not answer; nothing was applied"))


def _conflicts(answers: Sequence[Answer]) -> int:
    count = 0
    for answer in answers:
        if not answer.succeeded:
            count += 1
        elif isinstance(answer, FoldResult):
            count += sum(not member.succeeded for member in answer.members)
    return count
