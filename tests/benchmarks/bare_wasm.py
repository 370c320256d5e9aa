"""The bare controls of the chassis: an echo over a pair of sockets, and wasmtime as it comes.

Run as a program it is the other end of the pair: no limits, no sandbox, nothing of the fabric. A
task there has a fresh store and instance, as in the sandbox, and nothing else.
"""

import asyncio
import socket
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Self

from wasmtime import Engine, Func, Instance, Memory, Module, Store

# What is wanted, and how many bytes follow; how many seconds it took, and how many bytes follow.
_ASKED = struct.Struct(">cI")
_ANSWERED = struct.Struct(">dI")
_ECHO, _CALL = b"e", b"c"


class Bare:
    """The process of the controls, and what it is asked.

    Args:
        ours: end of the pair of sockets.
        process: has the other end.
    """

    def __init__(self, ours: socket.socket, process: "subprocess.Popen[bytes]") -> None:
        ours.setblocking(False)
        self._ours = ours
        self._process = process

    @classmethod
    def start(cls, module: bytes) -> Self:
        """Start it with a core module, in text."""
        ours, theirs = socket.socketpair()
        with theirs, tempfile.NamedTemporaryFile(suffix=".wat") as file:
            file.write(module)
            file.flush()
            process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(theirs.fileno()), file.name],
                pass_fds=(theirs.fileno(),),
            )
            # It says when it has read the file and is ready.
            ours.recv(1)
        return cls(ours, process)

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    async def echo(self, data: bytes) -> None:
        """Have bytes come back."""
        await self._ask(_ECHO, data)

    async def call(self, request: bytes) -> float:
        """Run the module once; return for how many seconds it ran, the way there and back aside."""
        return await self._ask(_CALL, request)

    def stop(self) -> None:
        """End the process."""
        self._ours.close()
        self._process.wait()

    async def _ask(self, what: bytes, data: bytes) -> float:
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(self._ours, _ASKED.pack(what, len(data)) + data)
        head = bytearray()
        while len(head) < _ANSWERED.size:
            head += await self._some(_ANSWERED.size - len(head))
        seconds, size = _ANSWERED.unpack(head)
        while size:
            size -= len(await self._some(size))
        return float(seconds)

    async def _some(self, size: int) -> bytes:
        data = await asyncio.get_running_loop().sock_recv(self._ours, size)
        assert data, "the process of the controls has ended"
        return data


def _run(engine: Engine, module: Module, request: bytes) -> bytes:
    store = Store(engine)
    exports: Any = Instance(store, module, []).exports(store)
    allocate, run, memory = exports["ifc_alloc"], exports["ifc_run"], exports["memory"]
    assert isinstance(allocate, Func)
    assert isinstance(run, Func)
    assert isinstance(memory, Memory)
    pointer = allocate(store, len(request))
    memory.write(store, request, pointer)
    packed = run(store, pointer, len(request))
    start, size = packed >> 32, packed & 0xFFFF_FFFF
    result = bytes(memory.read(store, start, start + size))
    store.close()
    return result


def _serve(theirs: socket.socket, engine: Engine, module: Module) -> None:
    while len(head := theirs.recv(_ASKED.size, socket.MSG_WAITALL)) == _ASKED.size:
        what, size = _ASKED.unpack(head)
        data = theirs.recv(size, socket.MSG_WAITALL)
        before = time.perf_counter()
        if what == _CALL:
            data = _run(engine, module, data)
        seconds = time.perf_counter() - before
        theirs.sendall(_ANSWERED.pack(seconds, len(data)) + data)


def _main() -> None:
    theirs = socket.socket(fileno=int(sys.argv[1]))
    engine = Engine()
    module = Module(engine, Path(sys.argv[2]).read_bytes())
    theirs.sendall(b"!")
    _serve(theirs, engine, module)


if __name__ == "__main__":
    _main()
