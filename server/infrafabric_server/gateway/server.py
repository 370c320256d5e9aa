"""The HTTP server: uvicorn in the loop of the whole process, on a socket that is given."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import h11
import structlog
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from infrafabric_server.gateway.events import Events

# From the first byte of a request to its last, and from a connection to its first request.
REQUEST_SECONDS = 15.0
# A reader that does not take what there is for so long is gone; a watcher has its cursor.
SEND_SECONDS = 30.0
# More than the watchers, and far fewer than the files that a process may open.
MAX_CONNECTIONS = 2_000
# So many more are told that there are too many; uvicorn would take any number, to tell them.
MAX_REFUSED = 100
STOP_SECONDS = 5

_log = structlog.get_logger(__name__)


class _ImpatientProtocol(H11Protocol):
    """HTTP/1.1 that ends a connection whose request does not arrive, or whose answer nobody reads.

    uvicorn itself waits for ever for both, so that a few slow clients could take every
    connection there is.
    """

    _deadline: asyncio.TimerHandle | None = None
    _sending: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS + MAX_REFUSED:
            transport.abort()
            return
        # Whatever the system does not take pauses: the end of a small answer counts as well.
        transport.set_write_buffer_limits(high=0)
        self._arm()

    def data_received(self, data: bytes) -> None:
        self._arm()
        super().data_received(data)
        if self.conn.their_state not in (h11.IDLE, h11.SEND_BODY):
            self._disarm()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        self._taken()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._sending = self.loop.call_later(SEND_SECONDS, self._give_up)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._taken()

    def _give_up(self) -> None:
        _log.info("reader_too_slow", seconds=SEND_SECONDS)
        # Not closed: that would wait until the rest is read.
        self.transport.abort()

    def _taken(self) -> None:
        if self._sending is not None:
            self._sending.cancel()
            self._sending = None

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
