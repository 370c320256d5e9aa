"""Keeps a connection to one server of a NATS cluster after another."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import replace

import structlog
from nats.errors import Error

from infrafabric_server.bus.address import NatsAccess
from infrafabric_server.bus.connection import Connection
from infrafabric_server.clock import Clock

# A server that does not answer a ping in time is left for the next one.
_PING_SECONDS = 1.0
_PONG_SECONDS = 3
# Pauses before a server is tried again: doubled from the first to the last, and half of each is
# chance, as all replicas lose a server at the same time. They start anew after a connection
# that lasted longer than the last.
_FIRST_PAUSE = 0.05
_LAST_PAUSE = 1.0
_MOST_DOUBLINGS = 10

_logger = structlog.get_logger(__name__)


class Connector:
    """Connects to the servers in turn, for as long as it takes, whatever goes wrong.

    Args:
        address: `nats://HOST:PORT,HOST:PORT`, or `tls://`.
        access: what is shown to the servers.
        name: what they call us in what they tell of their connections.
        clock: only its monotonic time is used.
        chance: a number from 0 to 1.
        missed: called for each message that came and found no room.
    """

    def __init__(
        self,
        address: str,
        access: NatsAccess,
        name: str,
        clock: Clock,
        chance: Callable[[], float],
        missed: Callable[[], None],
    ) -> None:
        scheme, _, hosts = address.partition("://")
        self._servers = hosts.removesuffix("/").split(",")
        self._secure = scheme == "tls"
        if self._secure and access.tls is None:
            access = replace(access, tls=ssl.create_default_context())
        self._access = access
        self._name = name
        self._clock = clock
        self._chance = chance
        self._missed = missed
        self._reported = ""

    async def run(self, serve: Callable[[Connection], Awaitable[None]]) -> None:
        """Run `serve` with each connection until that ends; return never."""
        turn, failures = int(self._chance() * len(self._servers)), 0
        while True:
            seconds = await self._attempt(self._servers[turn % len(self._servers)], serve)
            turn += 1
            failures = 0 if seconds > _LAST_PAUSE else failures + 1
            doublings = min(failures // len(self._servers), _MOST_DOUBLINGS)
            pause = min(_FIRST_PAUSE * 2**doublings, _LAST_PAUSE)
            await asyncio.sleep(pause * (1 + self._chance()) / 2)

    async def _attempt(self, server: str, serve: Callable[[Connection], Awaitable[None]]) -> float:
        """Connect and serve; return for how many seconds that went well."""
        connection = Connection(
            secure=self._secure, missed=self._missed, failed=lambda text: self._report(server, text)
        )
        since = None
        try:
            await connection.establish(server, self._access, self._name)
            since = self._clock.monotonic()
            self._reported = ""
            _logger.info("bus_connected", server=server)
            await _hold(connection, serve)
        except (Error, OSError, ValueError) as error:
            self._report(server, connection.why(error))
        except Exception as error:  # noqa: BLE001  # whatever the server did, it is left
            self._report(server, repr(error), trace=True)
        finally:
            await connection.end()
        return self._clock.monotonic() - since if since is not None else 0.0

    def _report(self, server: str, reason: str, *, trace: bool = False) -> None:
        # The same again and again is not news.
        if reason != self._reported:
            self._reported = reason
            _logger.warning("bus_failed", server=server, reason=reason, exc_info=trace)


async def _hold(connection: Connection, serve: Callable[[Connection], Awaitable[None]]) -> None:
    """Run `serve` until the connection ends or its server is silent. Raises the reason."""
    works = [
        asyncio.ensure_future(serve(connection)),
        asyncio.ensure_future(_pulse(connection)),
        asyncio.ensure_future(connection.ended.wait()),
    ]
    try:
        await asyncio.wait(works, return_when=asyncio.FIRST_COMPLETED)
        first = next(work for work in works if work.done())
    finally:
        # What waits for the server ends with the connection: nats-py can swallow a cancellation.
        await connection.end()
        for work in works:
            work.cancel()
        await asyncio.gather(*works, return_exceptions=True)
    await first
    raise ConnectionError("the connection ended")


async def _pulse(connection: Connection) -> None:
    while connection.is_connected:
        await asyncio.sleep(_PING_SECONDS)
        try:
            await connection.rtt(_PONG_SECONDS)
        except TimeoutError:
            raise ConnectionError(f"no answer to a ping within {_PONG_SECONDS} s") from None
