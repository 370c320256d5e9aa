"""Calls to whichever member of the cluster answers."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

import structlog
from google.protobuf.message import Message
from grpc import aio

from infrafabric_server.clock import Clock
from infrafabric_server.store.etcd import rpc
from infrafabric_server.store.etcd.address import Access, EtcdAddress
from infrafabric_server.store.etcd.errors import Verdict, details_of, store_error, verdict
from infrafabric_server.store.etcd.wire import etcd_pb2 as pb
from infrafabric_server.store.protocol import StoreClosed

RequestT = TypeVar("RequestT", bound=Message)
ResponseT = TypeVar("ResponseT", bound=Message)

# Seconds between two attempts: from the first, doubled up to the last.
_FIRST_PAUSE = 0.05
_LAST_PAUSE = 1.0
# An answer may take this many seconds longer for each so many bytes that are sent.
_BYTES_A_SECOND = 2 * 1024 * 1024
# Authentications for one call: a second one when another client changed the users meanwhile.
_LOGINS = 2


class Pauses(Protocol):
    """Waits between attempts, each time longer."""

    async def __call__(self) -> None:
        """Wait."""
        ...


class Connection:
    """Speaks to one member of the cluster until it fails, then to the next.

    Args:
        address: the members.
        access: what is shown to them.
        clock: only its monotonic time is used.
        attempt: seconds within which a member has to answer.
        patience: seconds after which a call that is safe to repeat is given up.
        sleep: waits for a number of seconds.

    Attributes:
        attempt: as given.
    """

    def __init__(
        self,
        address: EtcdAddress,
        access: Access,
        clock: Clock,
        attempt: float,
        patience: float,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._address = address
        self._access = access
        self._clock = clock
        self.attempt = attempt
        self._patience = patience
        self._sleep = sleep
        self._channels: dict[str, aio.Channel] = {}
        self._current = 0
        self._token = ""
        self._login = asyncio.Lock()
        self._closed = False
        self._leaving: list[Callable[[int], None]] = []
        self._logger = structlog.get_logger(__name__)

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def deadline(self) -> float:
        """Return the monotonic time at which a call that begins now is given up."""
        return self._clock.monotonic() + self._patience

    def late(self, deadline: float) -> bool:
        """Tell whether `deadline` has passed."""
        return self._clock.monotonic() >= deadline

    def pauses(self) -> Pauses:
        """Return what waits between the attempts of one call."""
        pause = _FIRST_PAUSE

        async def wait() -> None:
            nonlocal pause
            await self._sleep(pause)
            pause = min(pause * 2, _LAST_PAUSE)

        return wait

    async def call(self, method: rpc.Method[RequestT, ResponseT], request: RequestT) -> ResponseT:
        """Send a request once, and again only when it was refused for its old token.

        Raises AioRpcError, after which another member comes next if this one may be gone;
        StoreClosed; StoreDenied when it is the user who is refused.
        """
        seconds = self.attempt + request.ByteSize() / _BYTES_A_SECOND
        logins = 0
        while True:
            channel, current = self._channel(), self._current
            invoke = channel.unary_unary(
                method.path, request_serializer=method.encode, response_deserializer=method.decode
            )
            token = await self.token()
            try:
                response: ResponseT = await invoke(
                    request, timeout=seconds, metadata=self.metadata(token)
                )
            except aio.AioRpcError as error:
                meaning = verdict(error)
                if meaning is Verdict.LOGIN and self._access.user and logins < _LOGINS:
                    logins += 1
                    self.forget(token)
                    continue
                if meaning is Verdict.UNKNOWN:
                    self.fail_over(current, details_of(error))
                raise
            return response

    async def read(self, method: rpc.Method[RequestT, ResponseT], request: RequestT) -> ResponseT:
        """Send a request that is safe to repeat, until it is answered.

        Raises AioRpcError for what was refused, StoreUnavailable when the patience ends.
        """
        deadline, pause = self.deadline(), self.pauses()
        while True:
            try:
                return await self.call(method, request)
            except aio.AioRpcError as error:
                if verdict(error) not in (Verdict.UNKNOWN, Verdict.AGAIN):
                    raise
                if self.late(deadline):
                    raise store_error(error) from error
            await pause()

    def stream(
        self, method: rpc.Method[RequestT, ResponseT], metadata: rpc.Metadata
    ) -> "tuple[aio.StreamStreamCall[RequestT, ResponseT], int]":
        """Open a stream to the present member; return it with the place of that member."""
        invoke = self._channel().stream_stream(
            method.path, request_serializer=method.encode, response_deserializer=method.decode
        )
        # A member that lost its leader must end the stream rather than stay silent.
        return invoke(metadata=(*metadata, ("hasleader", "true"))), self._current

    def metadata(self, token: str) -> rpc.Metadata:
        """Return what goes with each call."""
        return (("token", token),) if token else ()

    async def token(self) -> str:
        """Return the token that shows who we are; "" when nobody in particular."""
        if not self._access.user or self._token:
            return self._token
        async with self._login:
            if not self._token:
                self._token = await self._authenticate()
        return self._token

    def forget(self, token: str) -> None:
        """Take notice that `token` is not valid any more."""
        if self._token == token:
            self._token = ""

    def on_fail_over(self, leave: Callable[[int], None]) -> None:
        """Have `leave` called with the place of each member that is left for another."""
        self._leaving.append(leave)

    def fail_over(self, place: int, reason: str) -> None:
        """Let the member after `place` be next, unless somebody else has done so."""
        if self._current != place or self._closed:
            return
        self._current = (place + 1) % len(self._address.endpoints)
        if self._current != place:
            for leave in self._leaving:
                leave(place)
        self._logger.warning(
            "etcd_member_failed",
            endpoint=self._address.endpoints[place],
            next=self._address.endpoints[self._current],
            reason=reason,
        )

    async def close(self) -> None:
        """End every call. Safe to repeat."""
        self._closed = True
        channels = list(self._channels.values())
        self._channels.clear()
        for channel in channels:
            await channel.close()

    async def _authenticate(self) -> str:
        request = pb.AuthenticateRequest(name=self._access.user, password=self._access.password)
        method = rpc.AUTHENTICATE
        current = self._current
        invoke = self._channel().unary_unary(
            method.path, request_serializer=method.encode, response_deserializer=method.decode
        )
        try:
            answer: pb.AuthenticateResponse = await invoke(request, timeout=self.attempt)
        except aio.AioRpcError as error:
            meaning = verdict(error)
            if meaning is Verdict.UNKNOWN:
                self.fail_over(current, details_of(error))
            if meaning in (Verdict.UNKNOWN, Verdict.AGAIN):
                raise
            raise store_error(error) from error
        return answer.token

    def _channel(self) -> aio.Channel:
        if self._closed:
            raise StoreClosed("the store was closed")
        endpoint = self._address.endpoints[self._current]
        if endpoint not in self._channels:
            self._channels[endpoint] = rpc.aio_channel(self._address, self._access, endpoint)
        return self._channels[endpoint]
