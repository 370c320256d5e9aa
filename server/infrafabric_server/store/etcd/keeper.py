"""The thread that renews leases at etcd, which no busy event loop can hold up."""

import asyncio
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import grpc
import structlog

from infrafabric_server.clock import Clock
from infrafabric_server.store.etcd import rpc
from infrafabric_server.store.etcd.address import Access, EtcdAddress
from infrafabric_server.store.etcd.errors import Verdict, details_of, verdict
from infrafabric_server.store.etcd.wire import etcd_pb2 as pb

# A lease is renewed when so much of its time at etcd has passed.
RENEWED_AT = 1 / 5
# Seconds between two looks at what is due, and after a member failed.
_STEP = 0.1
_PAUSE = 0.5
# Seconds within which a member has to answer.
_ATTEMPT = 2.0
# Leases that are renewed in one stream.
_CHUNK = 1_000
# A loop that gives no sign for this long beyond a lease's time is not busy but hung: its
# leases have to end, so that others can go on.
_HUNG = 30.0


@dataclass(slots=True)
class _Held:
    ttl: float
    granted: float
    renewed: float
    touched: float


class Keeper:
    """Renews leases at etcd for as long as they are held here.

    Whether a lease is still alive is judged by the local clock: when it was not renewed
    within the time for which etcd granted it, counted from when the last renewal was sent,
    it is lost, whatever etcd will say.

    Args:
        address: the members.
        access: what is shown to them.
        clock: only its monotonic time is used; it has to be the real one, as etcd's is.
        lost: called in the loop with each lease that is lost.
        slack: called in the loop with the least time that a renewed lease had left.
    """

    def __init__(
        self,
        address: EtcdAddress,
        access: Access,
        clock: Clock,
        lost: Callable[[int], None],
        slack: Callable[[float], None],
    ) -> None:
        self._address = address
        self._access = access
        self._clock = clock
        self._lost = lost
        self._slack = slack
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._held: dict[int, _Held] = {}
        self._stop = threading.Event()
        self._current = 0
        self._token = ""
        self._logger = structlog.get_logger(__name__)
        # A daemon: a loop that ends without closing the store must not hang the process.
        self._thread = threading.Thread(target=self._work, name="etcd-leases", daemon=True)
        self._thread.start()

    def hold(self, lease: int, ttl: float, granted: float, sent: float) -> None:
        """Renew `lease` from now on; etcd gave it `granted` seconds at `sent` or later."""
        self._held[lease] = _Held(ttl, granted, sent, self._clock.monotonic())

    def touch(self, lease: int) -> bool:
        """Note that the holder of `lease` lives; tell whether the lease itself does."""
        held = self._held.get(lease)
        if held is None:
            return False
        held.touched = self._clock.monotonic()
        return held.touched < held.renewed + held.granted

    def holds(self, lease: int) -> bool:
        """Tell whether `lease` is renewed here."""
        return lease in self._held

    def drop(self, lease: int) -> None:
        """Renew `lease` no more."""
        self._held.pop(lease, None)

    async def stop(self) -> None:
        """End the thread. Leases live on for the rest of their time at etcd."""
        self._stop.set()
        await self._ended

    def _work(self) -> None:
        channel: grpc.Channel | None = None
        pause = _STEP
        while not self._stop.wait(pause):
            pause = _STEP
            now = self._clock.monotonic()
            due = [
                lease
                for lease, held in list(self._held.items())
                if now >= held.renewed + held.granted * RENEWED_AT
                and now < held.touched + held.ttl + _HUNG
            ]
            try:
                for start in range(0, len(due), _CHUNK):
                    channel = channel or self._channel()
                    self._renew(channel, due[start : start + _CHUNK])
            except grpc.RpcError as error:
                self._failed(error)
                pause = _PAUSE
                if channel is not None and verdict(error) is not Verdict.LOGIN:
                    channel.close()
                    channel = None
            except Exception:
                # Whatever it was, the leases that are not renewed are told as lost in time.
                self._logger.exception("etcd_lease_renewal_broke")
            self._tell_lost()
        if channel is not None:
            channel.close()
        self._post(self._end)

    def _renew(self, channel: grpc.Channel, leases: Sequence[int]) -> None:
        if self._access.user and not self._token:
            self._token = self._authenticate(channel)
        metadata: rpc.Metadata = (("hasleader", "true"),)
        if self._token:
            metadata = (*metadata, ("token", self._token))
        method = rpc.RENEW
        invoke = channel.stream_stream(
            method.path, request_serializer=method.encode, response_deserializer=method.decode
        )
        sent = self._clock.monotonic()
        requests = iter([pb.LeaseKeepAliveRequest(ID=lease) for lease in leases])
        answers: Iterable[pb.LeaseKeepAliveResponse] = invoke(
            requests, timeout=_ATTEMPT, metadata=metadata
        )
        slack = float("inf")
        for answer in answers:
            held = self._held.get(answer.ID)
            if held is None:
                continue
            if answer.TTL <= 0:
                held.granted = 0.0
                continue
            slack = min(slack, held.renewed + held.granted - sent)
            held.renewed, held.granted = sent, float(answer.TTL)
        if slack < float("inf"):
            self._post(self._slack, slack)

    def _authenticate(self, channel: grpc.Channel) -> str:
        method = rpc.AUTHENTICATE
        invoke = channel.unary_unary(
            method.path, request_serializer=method.encode, response_deserializer=method.decode
        )
        request = pb.AuthenticateRequest(name=self._access.user, password=self._access.password)
        answer: pb.AuthenticateResponse = invoke(request, timeout=_ATTEMPT)
        return answer.token

    def _failed(self, error: grpc.RpcError) -> None:
        if verdict(error) is Verdict.LOGIN:
            self._token = ""
            return
        self._logger.warning(
            "etcd_leases_not_renewed",
            endpoint=self._address.endpoints[self._current],
            reason=details_of(error),
        )
        self._current = (self._current + 1) % len(self._address.endpoints)

    def _tell_lost(self) -> None:
        now = self._clock.monotonic()
        for lease, held in list(self._held.items()):
            if now >= held.renewed + held.granted:
                self._post(self._lost, lease)

    def _channel(self) -> grpc.Channel:
        endpoint = self._address.endpoints[self._current]
        return rpc.thread_channel(self._address, self._access, endpoint)

    def _end(self) -> None:
        if not self._ended.done():
            self._ended.set_result(None)

    def _post(self, function: Callable[..., None], *args: object) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *args)
        except RuntimeError:
            # The loop is closed: whoever held a lease is gone.
            self._stop.set()
