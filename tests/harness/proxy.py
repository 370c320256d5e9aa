"""A TCP proxy between client and server that can cut, stall, delay and refuse.

async with Proxy(server.grpc) as proxy:
    client = Client(proxy.address)
    proxy.cut()          # every connection ends with a reset; new ones are let through
    proxy.stall()        # connections stay open and nothing passes, until flow()
"""

import asyncio
import socket
import struct
from typing import Self

_CHUNK = 64 * 1024

# Linger for zero seconds: the close sends a reset, as a crashed machine or a firewall would.
_RESET = struct.pack("ii", 1, 0)


def _reset(writer: asyncio.StreamWriter) -> None:
    if not writer.transport.is_closing():
        end = writer.get_extra_info("socket")
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()


class Proxy:
    """Forwards connections to one target, and spoils them on demand.

    Args:
        target: where to forward to, as `host:port`; may change between connections.

    Attributes:
        delay: seconds that each chunk is held back before it is passed on.
        refusing: whether new connections are reset at once.
        cut_after: bytes that the server may still send before every connection is cut;
            None for no limit. It is None again after the cut.
        accepted: connections let through so far.
    """

    def __init__(self, target: str) -> None:
        self.target = target
        self.delay = 0.0
        self.refusing = False
        self.cut_after: int | None = None
        self.accepted = 0
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._server: asyncio.Server | None = None
        self._handlers: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._handle, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *exception: object) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        for handler in self._handlers:
            handler.cancel()
        await asyncio.gather(*self._handlers, return_exceptions=True)
        await self._server.wait_closed()

    @property
    def address(self) -> str:
        """Where the proxy listens, as `host:port`."""
        assert self._server is not None
        host, port = self._server.sockets[0].getsockname()[:2]
        return f"{host}:{port}"

    @property
    def connections(self) -> int:
        """How many connections are open now."""
        return len(self._handlers)

    def cut(self) -> None:
        """Reset every open connection; new ones are let through."""
        for writer in self._writers:
            _reset(writer)

    def stall(self) -> None:
        """Let nothing pass in either direction; connections stay open."""
        self._flowing.clear()

    def flow(self) -> None:
        """End a stall; what was held back passes in order."""
        self._flowing.set()

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._handlers.add(task)
        try:
            if self.refusing:
                _reset(writer)
                return
            await self._forward(reader, writer)
        except* (OSError, asyncio.CancelledError):
            pass  # a reset is what this proxy is for; a cancelled handler is a closed proxy
        finally:
            self._handlers.discard(task)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, _, port = self.target.rpartition(":")
        try:
            far_reader, far_writer = await asyncio.open_connection(host, int(port))
        except OSError:
            _reset(writer)
            return
        self.accepted += 1
        pair = {writer, far_writer}
        self._writers |= pair
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(reader, far_writer, from_server=False))
                group.create_task(self._pump(far_reader, writer, from_server=True))
        finally:
            self._writers -= pair
            for end in pair:
                end.close()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, from_server: bool
    ) -> None:
        while chunk := await reader.read(_CHUNK):
            await asyncio.sleep(self.delay)
            await self._flowing.wait()
            if from_server and self.cut_after is not None:
                self.cut_after -= len(chunk)
                if self.cut_after < 0:
                    self.cut_after = None
                    self.cut()
                    return
            writer.write(chunk)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
