"""One connection to one NATS server.

nats-py would reconnect by itself. But then it waits, for minutes, until a server that hangs has
taken what it was sent; it speaks plain text at a server that does not ask for TLS, whatever its
user wanted; and some errors of the server end it for good. So the one that is lost is left, at
once, for a new one, in one way whatever the reason.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from typing import Any

from nats.aio.client import Client, RawCredentials
from nats.aio.transport import TcpTransport
from nats.errors import Error, SlowConsumerError

from infrafabric_server.bus.address import NatsAccess

# Seconds for each step: the TCP connection, TLS, and each answer of the server.
_STEP_SECONDS = 2
# Bytes that nats-py holds for the socket before its `publish` waits.
_HELD_BYTES = 1024 * 1024


class _Transport(TcpTransport):
    """A TCP or TLS connection that can be dropped."""

    def abort(self) -> None:
        """Close the connection, and forget what was not taken yet."""
        if self._io_writer is not None:
            self._io_writer.transport.abort()


class Connection(Client):
    """A client of nats-py for one server, that never reconnects.

    Args:
        secure: whether to speak TLS, whatever the server says of it.
        missed: called for each message that came and found no room.
        failed: called with what else went wrong, which may be often.

    Attributes:
        ended: set when the connection is over.
    """

    def __init__(
        self, *, secure: bool, missed: Callable[[], None], failed: Callable[[str], None]
    ) -> None:
        super().__init__()
        self.ended = asyncio.Event()
        self._secure = secure
        self._missed = missed
        self._failed = failed

    async def establish(self, server: str, access: NatsAccess, name: str) -> None:
        """Connect to `server`, HOST:PORT.

        Raises OSError and nats.errors.Error: it did not work, and `end` is still to be called.
        """
        secrets: dict[str, Any] = {}
        if access.credentials:
            secrets["user_credentials"] = RawCredentials(access.credentials)
        elif access.user:
            secrets.update(user=access.user, password=access.password)
        await self.connect(
            f"{'tls' if self._secure else 'nats'}://{server}",
            name=name or None,
            allow_reconnect=False,
            connect_timeout=_STEP_SECONDS,
            no_echo=True,
            pending_size=_HELD_BYTES,
            tls=access.tls,
            error_cb=self._report,
            closed_cb=self._end,
            **secrets,
        )

    async def end(self) -> None:
        """Close the connection, whatever state it is in, without waiting for the server.

        It never raises. Safe to repeat.
        """
        if isinstance(self._transport, _Transport):
            self._transport.abort()
        # nats-py would try to send these first.
        self._pending, self._pending_data_size = [], 0
        with contextlib.suppress(Error, OSError):
            await self.close()
        # It would leave whoever waits for the socket waiting.
        while self._flush_queue is not None and not self._flush_queue.empty():
            waiter = self._flush_queue.get_nowait()
            if not waiter.done():
                waiter.set_result(None)
        self.ended.set()

    def why(self, error: Exception) -> str:
        """Return what ended the connection, of which `error` came; it holds no secret."""
        return _told(self.last_error or error)

    async def _select_next_server(self) -> None:
        # nats-py would try for ever. It calls this to get a TCP connection to any server.
        (server,) = self._server_pool
        self._current_server = server
        self._transport = transport = _Transport()
        await transport.connect(server.uri, 32 * 1024, _STEP_SECONDS)

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        # The first word of the server, which anybody on the way can change. nats-py reads from
        # it, after this, whether to begin TLS.
        if initial_connection and self._secure:
            if not (info.get("tls_required") or info.get("tls_available")):
                raise Error("the server does not offer TLS, which the address asks for")
            info["tls_required"] = True
        await super()._process_info(info, initial_connection)

    async def _report(self, error: Exception) -> None:
        if isinstance(error, SlowConsumerError):
            self._missed()
        elif not isinstance(error, OSError):
            # Those of the socket end the connection, and are told then.
            self._failed(_told(error))

    async def _end(self) -> None:
        self.ended.set()


def _told(error: Exception) -> str:
    text = str(error) or type(error).__name__
    if isinstance(error, TimeoutError):
        return f"no answer within {_STEP_SECONDS} s"
    if "authorization" in text.lower() or "authentication" in text.lower():
        return f"NATS refuses our user, password, credentials or certificate ({text})"
    if isinstance(error, ssl.SSLError):
        return f"the certificates do not match those of NATS ({text})"
    return text
