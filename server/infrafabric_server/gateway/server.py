"""The HTTP server: uvicorn in the loop of the whole process, on a socket that is given."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from infrafabric_server.gateway.events import Events

# From the first byte of a request to its last, and from a connection to its first request.
REQUEST_SECONDS = 15.0
# More than the watchers, and far fewer than the files that a process may open.
MAX_CONNECTIONS = 2_000
STOP_SECONDS = 5


class _ImpatientProtocol(H11Protocol):
    """HTTP/1.1 that closes a connection whose request does not arrive in time.

    uvicorn itself waits for ever for the rest of a request, so that a few slow clients
    could take every connection there is.
    """

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        super().connection_made(transport)
        self._arm()

    def data_received(self, data: bytes) -> None:
        self._arm()
        super().data_received(data)
        if self.conn.their_state not in (h11.IDLE, h11.SEND_BODY):
            self._disarm()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super().connection_lost(exc)

    def _arm(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(REQUEST_SECONDS, self.transport.close)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


class _Server(uvicorn.Server):
    """uvicorn without signal handlers, which are the process's, and with a word when it is up."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()


class GatewayServer:
    """Serves an application on a bound socket; the owner starts it in its task group."""

    def __init__(self, app: ASGIApp, events: Events, bound: socket.socket) -> None:
        self._events = events
        self._socket = bound
        self._server = _Server(
            uvicorn.Config(
                app,
                http=_ImpatientProtocol,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                limit_concurrency=MAX_CONNECTIONS,
                timeout_graceful_shutdown=STOP_SECONDS,
            )
        )

    @property
    def port(self) -> int:
        """Port that the server listens on."""
        port: int = self._socket.getsockname()[1]
        return port

    async def ready(self) -> None:
        """Return when requests are answered."""
        await self._server.up.wait()

    async def run(self) -> None:
        """Serve until `stop`; a request under way is given `STOP_SECONDS` to end."""
        await self._server.serve(sockets=[self._socket])

    def stop(self) -> None:
        """Take no new connection, end the live events, and let `run` return soon."""
        self._events.close()
        self._server.should_exit = True

    def abort(self) -> None:
        """After `stop`: wait no longer for requests under way."""
        self._server.force_exit = True
