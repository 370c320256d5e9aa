"""A bus over NATS."""

import asyncio
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Self

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error

from infrafabric_server.bus.address import NatsAccess
from infrafabric_server.bus.protocol import Counts, Listener

# What may wait to be sent: a few seconds of a busy fabric.
MAX_WAITING = 4_096
MAX_WAITING_BYTES = 16 * 1024 * 1024
# A server that does not answer two pings in a row is left for another one.
_PING_SECONDS = 2
_PINGS = 2
_CONNECT_SECONDS = 2
# Between two attempts to connect, with as much again by chance: replicas do not come in step.
_RECONNECT_SECONDS = 0.25
_CLOSE_SECONDS = 2.0
# Errors of the connection are logged at most this often.
_LOG_SECONDS = 5.0

_log = structlog.get_logger(__name__)


class NatsBus:
    """One end of the bus on a NATS cluster; see Bus. Made by `open`.

    It is there before the cluster is, and while the cluster is away: what is sent then is
    dropped, and the connection is tried again for as long as it takes.
    """

    def __init__(self, client: Client) -> None:
        self.counts = Counts()
        self.client = client
        self._waiting: deque[tuple[str, bytes]] = deque()
        self._bytes = 0
        self._some = asyncio.Event()
        self._listeners: dict[str, list[Listener]] = {}
        self._ready = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._logged = 0.0

    @classmethod
    async def open(cls, address: str, access: NatsAccess | None = None, *, name: str = "") -> Self:
        """Return a bus that begins to connect.

        Args:
            address: `nats://HOST:PORT,HOST:PORT`, or `tls://` for TLS.
            access: certificates, and user and password or a file of credentials.
            name: what the servers call this connection in what they tell of it.
        """
        access = access or NatsAccess()
        bus = cls(Client())
        scheme, _, hosts = address.partition("://")
        servers = [f"{scheme}://{host}" for host in hosts.removesuffix("/").split(",")]
        bus._start("bus_connect", bus._connect(servers, access, name))
        bus._start("bus_send", bus._send())
        return bus

    @property
    def connected(self) -> bool:
        """See Bus."""
        return self._ready.is_set() and self.client.is_connected

    async def ready(self) -> Client:
        """Return the client when it has connected for the first time; it may be cut off again."""
        await self._ready.wait()
        return self.client

    def publish(self, subject: str, payload: bytes) -> None:
        """See Bus."""
        room = len(self._waiting) < MAX_WAITING and self._bytes < MAX_WAITING_BYTES
        if not self.connected or not room or len(payload) > self.client.max_payload:
            self.counts.dropped += 1
            return
        self._waiting.append((subject, payload))
        self._bytes += len(payload)
        self._some.set()

    def subscribe(self, subject: str, listener: Listener) -> None:
        """See Bus."""
        first = subject not in self._listeners
        self._listeners.setdefault(subject, []).append(listener)
        if first and self._ready.is_set():
            self._start("bus_subscribe", self._subscribe(subject))

    async def close(self) -> None:
        """See Bus."""
        if self.client.is_closed:
            return
        tasks, self._tasks = self._tasks, []
        if self.connected:
            await self._within(_CLOSE_SECONDS, self._send_all)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._within(_CLOSE_SECONDS, self.client.close)

    def _start(self, name: str, work: Awaitable[None]) -> None:
        self._tasks.append(asyncio.ensure_future(work))
        self._tasks[-1].set_name(name)

    async def _connect(self, servers: list[str], access: NatsAccess, name: str) -> None:
        secrets = (
            {"user_credentials": str(access.credentials)}
            if access.credentials is not None
            else {"user": access.user, "password": access.password}
            if access.user
            else {}
        )
        await self.client.connect(
            servers,
            name=name or None,
            no_echo=True,
            tls=access.tls,
            connect_timeout=_CONNECT_SECONDS,
            ping_interval=_PING_SECONDS,
            max_outstanding_pings=_PINGS,
            reconnect_time_wait=_RECONNECT_SECONDS * (1 + random.random()),  # type: ignore[arg-type]  # it takes any number of seconds
            max_reconnect_attempts=-1,
            error_cb=self._failed,
            disconnected_cb=self._disconnected,
            reconnected_cb=self._reconnected,
            **secrets,  # type: ignore[arg-type]  # each is a str
        )
        self.counts.connections += 1
        self._ready.set()
        _log.info("bus_connected")
        for subject in self._listeners:
            await self._subscribe(subject)

    async def _subscribe(self, subject: str) -> None:
        listeners = self._listeners[subject]

        async def heard(message: Msg) -> None:
            self.counts.received += 1
            for listener in listeners:
                listener(message.data)

        await self.client.subscribe(subject, cb=heard)

    async def _send(self) -> None:
        while True:
            await self._some.wait()
            await self._send_all()

    async def _send_all(self) -> None:
        while self._waiting:
            subject, payload = self._waiting.popleft()
            self._bytes -= len(payload)
            try:
                await self.client.publish(subject, payload)
            except Error:
                self.counts.dropped += 1
            else:
                self.counts.sent += 1
        self._some.clear()

    async def _within(self, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
        try:
            async with asyncio.timeout(seconds):
                await work()
        except (Error, OSError, TimeoutError) as error:
            _log.warning("bus_not_closed_well", reason=str(error))

    async def _failed(self, error: Exception) -> None:
        now = time.monotonic()
        if now - self._logged > _LOG_SECONDS:
            self._logged = now
            _log.warning("bus_error", reason=str(error) or type(error).__name__)

    async def _disconnected(self) -> None:
        # What was not sent is old by the time there is a connection again.
        self.counts.dropped += len(self._waiting)
        self._waiting.clear()
        self._bytes = 0
        _log.warning("bus_disconnected")

    async def _reconnected(self) -> None:
        self.counts.connections += 1
        _log.info("bus_connected")
