"""A server of a webhook that keeps what it is sent, and answers well, badly or without an end."""

import asyncio
import json
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

TAKEN = b"HTTP/1.1 204 No Content\r\n\r\n"

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


def raw(answer: bytes) -> Answer:
    """Answer with some bytes and close."""

    async def send(writer: asyncio.StreamWriter) -> None:
        writer.write(answer)

    return send


async def silence(_writer: asyncio.StreamWriter) -> None:
    """Never answer."""
    await asyncio.Event().wait()


def endless(beginning: bytes, piece: bytes) -> Answer:
    """Answer without an end, as fast as it is read."""

    async def send(writer: asyncio.StreamWriter) -> None:
        writer.write(beginning)
        while True:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)

    return send


@dataclass
class Receiver:
    """A webhook's server: what it was sent, and what it answers; the last answer is repeated.

    `lines` are those that began the requests.
    """

    answers: list[Answer]
    requests: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    url: str = ""
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take one request on a connection."""
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            headers = {
                name.lower(): value for name, value in re.findall(r"(?m)^([\w-]+): (.*)\r$", head)
            }
            self.lines.append(head.partition("\r\n")[0])
            size = int(headers.get("content-length", "0"))
            self.requests.append((headers, await reader.readexactly(size)))
            self._changed.set()
            await self.answers[min(len(self.requests), len(self.answers)) - 1](writer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def told(self, event: str) -> None:
        """Return when it was told of an event."""
        while event not in self.events:
            self._changed.clear()
            await self._changed.wait()

    @property
    def events(self) -> list[str]:
        """What was told, in order."""
        return [json.loads(body)["event"] for _, body in self.requests]


@asynccontextmanager
async def receiving(*answers: Answer, tls: ssl.SSLContext | None = None) -> AsyncIterator[Receiver]:
    """Run a receiver on a free port."""
    receiver = Receiver(list(answers))
    serving: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(asyncio.get_running_loop().create_task(receiver.serve(reader, writer)))

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls)
    receiver.url = f"http{'s' if tls else ''}://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"
    try:
        yield receiver
    finally:
        server.close()
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)
