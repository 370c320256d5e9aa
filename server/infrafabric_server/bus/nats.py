"""A bus over NATS."""

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import Callable
from typing import Self

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import ConnectionClosedError, Error

from infrafabric_server.bus.address import NatsAccess
from infrafabric_server.bus.connection import Connection
from infrafabric_server.bus.connector import Connector
from infrafabric_server.bus.listeners import Listeners
from infrafabric_server.bus.protocol import Counts, Listener
from infrafabric_server.clock import Clock, SystemClock

# What may wait to be sent: a few seconds of a busy fabric.
MAX_WAITING = 4_096
MAX_WAITING_BYTES = 16 * 1024 * 1024
# What may wait for the listeners of a subject while the loop is busy with other work.
_MAX_HEARD = 16_384
_MAX_HEARD_BYTES = 64 * 1024 * 1024
# The servers have this long to take what is sent, when they know us and at the end.
_FLUSH_SECONDS = 2


class NatsBus:
    """One end of the bus on a NATS cluster; see Bus. Made by `open`.

    It is there before the cluster is, and while the cluster is away or refuses us: what is sent
    then is dropped, and the servers are tried in turn for as long as it takes.
    """

    def __init__(self) -> None:
        self.counts = Counts()
        self._listeners = Listeners(self.counts)
        self._connection: Connection | None = None
        self._changed = asyncio.Condition()
        self._waiting: deque[tuple[str, bytes]] = deque()
        self._bytes = 0
        self._some = asyncio.Event()
        self._closed = False
        self._task: asyncio.Task[object] | None = None

    @classmethod
    async def open(
        cls,
        address: str,
        access: NatsAccess | None = None,
        *,
        name: str = "",
        clock: Clock | None = None,
        chance: Callable[[], float] = random.random,
    ) -> Self:
        """Return a bus that begins to connect.

        Args:
            address: `nats://HOST:PORT,HOST:PORT`, or `tls://` for TLS.
            access: certificates, and user and password or credentials.
            name: what the servers call this connection in what they tell of it.
            clock: only its monotonic time is used.
            chance: a number from 0 to 1, for the pauses between attempts to connect.
        """
        bus = cls()
        connector = Connector(
            address, access or NatsAccess(), name, clock or SystemClock(), chance, bus._miss
        )
        bus._task = asyncio.create_task(connector.run(bus._serve), name="bus")
        return bus

    @property
    def connected(self) -> bool:
        """See Bus."""
        return self._connection is not None and self._connection.is_connected

    @property
    def client(self) -> Connection | None:
        """The connection of nats-py, for JetStream; None while there is none.

        One that is lost does not come back: whoever gets an error from it, or hears nothing for
        long, asks for the next one.
        """
        return self._connection if self.connected else None

    async def ready(self) -> Client:
        """Return the connection as soon as there is one.

        Raises nats.errors.ConnectionClosedError when the bus is closed.
        """
        async with self._changed:
            while (client := self.client) is None:
                if self._closed:
                    raise ConnectionClosedError
                await self._changed.wait()
            return client

    def publish(self, subject: str, payload: bytes) -> None:
        """See Bus."""
        connection = self._connection
        if (
            connection is None
            or not connection.is_connected
            or self._closed
            or len(payload) > connection.max_payload
            or len(self._waiting) >= MAX_WAITING
            or self._bytes + len(payload) > MAX_WAITING_BYTES
        ):
            self.counts.dropped += 1
            return
        self._waiting.append((subject, payload))
        self._bytes += len(payload)
        self._some.set()

    def subscribe(self, subject: str, listener: Listener) -> None:
        """See Bus."""
        self._listeners.add(subject, listener)
        self._some.set()

    async def close(self) -> None:
        """See Bus."""
        tasks = [self._task] if self._task is not None else []
        connection, closed, self._closed = self._connection, self._closed, True
        if connection is not None and not closed:
            last = [
                asyncio.create_task(self._finish(connection)),
                asyncio.create_task(connection.ended.wait()),
            ]
            await asyncio.wait(last, timeout=_FLUSH_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            tasks += last
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        async with self._changed:
            self._changed.notify_all()

    async def _serve(self, connection: Connection) -> None:
        """Use a connection until it ends."""
        subscribed: set[str] = set()
        try:
            await self._subscribe(connection, subscribed)
            # What comes after this round trip finds all subscriptions in place.
            await connection.flush(_FLUSH_SECONDS)
            self.counts.connections += 1
            self._connection = connection
            async with self._changed:
                self._changed.notify_all()
            while connection.is_connected:
                await self._some.wait()
                self._some.clear()
                await self._subscribe(connection, subscribed)
                await self._send(connection)
        finally:
            self._connection = None
            # What was not sent is old by the time there is a connection again.
            self.counts.dropped += len(self._waiting)
            self._waiting.clear()
            self._bytes = 0

    async def _subscribe(self, connection: Connection, subscribed: set[str]) -> None:
        for subject in self._listeners.subjects:
            if subject not in subscribed:
                subscribed.add(subject)
                await connection.subscribe(
                    subject,
                    cb=self._hand,
                    pending_msgs_limit=_MAX_HEARD,
                    pending_bytes_limit=_MAX_HEARD_BYTES,
                )

    async def _send(self, connection: Connection) -> None:
        # All of this goes out in one write: nats-py flushes when this task gives way, which it
        # does not before a megabyte.
        while self._waiting and connection.is_connected:
            subject, payload = self._waiting.popleft()
            self._bytes -= len(payload)
            await connection.publish(subject, payload)
            self.counts.sent += 1

    async def _finish(self, connection: Connection) -> None:
        with contextlib.suppress(Error, OSError):
            await self._send(connection)
            await connection.flush(_FLUSH_SECONDS)

    async def _hand(self, message: Msg) -> None:
        self._listeners.hand(message.subject, message.data)

    def _miss(self) -> None:
        self.counts.missed += 1
