"""The bare controls: what the machine, the disk and grpc.aio take without InfraFabric.

Run as a program it is the echo server: bytes in, the same bytes out, on uvloop, with nothing
in between. The fabric is measured against it, never against a control made slower.
"""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import uvloop
from grpc import aio

PAYLOAD = b"x" * 100
UNARY = "/bare.Echo/Unary"
STREAM = "/bare.Echo/Stream"


async def _unary(request: bytes, _context: aio.ServicerContext[Any, Any]) -> bytes:
    return request


async def _stream(
    requests: AsyncIterator[bytes], _context: aio.ServicerContext[Any, Any]
) -> AsyncIterator[bytes]:
    async for request in requests:
        yield request


async def _serve() -> None:
    server = aio.server()
    handlers: dict[str, Any] = {
        "Unary": grpc.unary_unary_rpc_method_handler(_unary),
        "Stream": grpc.stream_stream_rpc_method_handler(_stream),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bare.Echo", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"127.0.0.1:{port}", flush=True)
    await server.wait_for_termination()


class Echo:
    """The echo server in a process of its own, and a channel to it."""

    def __init__(self, process: asyncio.subprocess.Process, address: str) -> None:
        self._process = process
        self._channel = aio.insecure_channel(address)
        self.unary: Any = self._channel.unary_unary(UNARY)
        self._streams: Any = self._channel.stream_stream(STREAM)

    @classmethod
    async def start(cls) -> "Echo":
        """Start the process."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.benchmarks.controls", stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        return cls(process, (await process.stdout.readline()).decode().strip())

    async def call(self) -> None:
        """Make one unary call."""
        await self.unary(PAYLOAD)

    def ping(self) -> "Ping":
        """Open one bidirectional stream."""
        return Ping(self._streams())

    async def stop(self) -> None:
        """End the process."""
        await self._channel.close()
        self._process.kill()
        await self._process.wait()


class Ping:
    """One open stream to the echo server."""

    def __init__(self, call: Any) -> None:
        self._call = call

    async def __call__(self) -> None:
        """Send one message and wait for it to come back."""
        await self._call.write(PAYLOAD)
        await self._call.read()

    def close(self) -> None:
        """End the stream."""
        self._call.cancel()


class Disk:
    """Durable writes of 4 KiB to a file, without anything around them."""

    def __init__(self, folder: Path) -> None:
        self._file = os.open(folder / "fdatasync", os.O_CREAT | os.O_WRONLY, 0o600)

    def sync(self) -> float:
        """Write a page and flush it to the disk; return how long that took, in seconds."""
        before = time.perf_counter()
        os.pwrite(self._file, os.urandom(4096), 0)
        os.fdatasync(self._file)
        return time.perf_counter() - before

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve())
