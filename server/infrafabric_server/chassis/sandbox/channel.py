"""The service's end of the socket to a worker."""

import asyncio
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

from infrafabric_server.chassis.sandbox.frames import HEADER_BYTES, Kind, pieces, read_header

_AS_THEY_ARE: Mapping[Kind, int] = {}


class Closed(Exception):
    """The worker has closed its end, or the service its own."""


class Channel:
    """Reads and writes frames without blocking the loop.

    Args:
        ours: one end of a pair of sockets; it is closed by `close`.
    """

    def __init__(self, ours: socket.socket) -> None:
        ours.setblocking(False)
        self._socket = ours
        self._loop = asyncio.get_running_loop()
        self._waiting = 0
        self._closed = False

    async def write(self, kind: Kind, body: bytes) -> None:
        """Send a frame; waits while the worker does not read.

        Raises:
            Closed: the worker has ended.
        """
        with self._open():
            for piece in pieces(kind, body):
                await self._loop.sock_sendall(self._socket, piece)

    async def read(
        self, expected: frozenset[Kind], most: Mapping[Kind, int] = _AS_THEY_ARE
    ) -> tuple[Kind, bytearray]:
        """Wait for a frame.

        Args:
            expected: what may come.
            most: tighter bounds than those of the kinds, in bytes.

        Raises:
            Closed: the worker has ended.
            Broken: something else came.
        """
        kind, size = read_header(await self._exactly(HEADER_BYTES), expected, most)
        return kind, await self._exactly(size)

    def close(self) -> None:
        """Close this end; whoever waits on it hears that at once."""
        self._closed = True
        # The loop may still watch the descriptor: no other socket may get its number yet.
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._let_go()

    def _let_go(self) -> None:
        if self._closed and not self._waiting:
            self._socket.close()

    @contextmanager
    def _open(self) -> Iterator[None]:
        if self._closed:
            raise Closed
        self._waiting += 1
        try:
            yield
        except OSError as error:
            raise Closed from error
        finally:
            self._waiting -= 1
            self._let_go()

    async def _exactly(self, size: int) -> bytearray:
        data = bytearray(size)
        view = memoryview(data)
        have = 0
        with self._open():
            while have < size:
                count = await self._loop.sock_recv_into(self._socket, view[have:])
                if count == 0:
                    raise Closed
                have += count
        return data
