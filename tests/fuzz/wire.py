"""Frames that no worker and no service would send, to the code of both sides."""

import asyncio
import json
import socket
import struct
from contextlib import suppress
from random import Random

from infrafabric_server.chassis.sandbox.channel import Channel, Closed
from infrafabric_server.chassis.sandbox.exchange import Exchange
from infrafabric_server.chassis.sandbox.frames import Broken, Kind
from infrafabric_server.chassis.sandbox.host import CallDenied, CallFailed
from infrafabric_server.chassis.sandbox.limits import Limits
from infrafabric_server.chassis.sandbox.messages import (
    End,
    read_described,
    read_end,
    read_layers,
    read_refusal,
)
from infrafabric_server.chassis.sandbox.worker.wire import Gone, Wire
from tests.fuzz.chance import damaged, document, number, value

# As few calls as a case has frames, so that some are too many.
LIMITS = Limits(max_memory_mb=16, max_output_bytes=10_000, max_api_calls_per_second=4)

_END = {
    "exit_code": 0,
    "trap": "",
    "memory_bytes": 65536,
    "output_bytes": 5,
    "calls": 0,
    "diagnostics": "",
    "stop": None,
}
_STOP = {"kind": "memory", "detail": "too much", "limit": 1, "observed": 2}
_LAYERS = {"layers": [["network", True, "a namespace"], ["user", False, "not root"]]}
_DESCRIBED = {"imports": [["ifc", "log"]], "exports": ["_start"], "optimised": True}
_REFUSED = {"kind": "invalid", "detail": "no module"}
# Less than what a socket holds, so that whoever reads need not be there yet.
_MOST_AT_ONCE = 64 << 10
# A worker that says nothing more is cut off: here after a moment, as it costs a case as long.
_SILENCE_SECONDS = 0.005
# Whoever hung up is done with long before.
_HANG_SECONDS = 20.0


def frame(kind: Kind, body: bytes) -> bytes:
    """Return a frame of any size, as the real one is refused before it is sent."""
    return struct.pack(">IB", len(body) + 1, kind) + body


_TRUE_END = [frame(Kind.RESULT, b"12345"), frame(Kind.END, json.dumps(_END).encode())]


class _Side(Wire):
    def close(self) -> None:
        """Close it, which a worker leaves to its end."""
        self._socket.close()


class Whims:
    """A host that grants whatever is asked, and answers with what comes to its mind."""

    def __init__(self, random: Random) -> None:
        self._random = random

    async def log(self, text: str) -> None:
        """Insist that a line can be written somewhere."""
        text.encode()

    async def call(self, name: str, body: bytes) -> bytes:
        """Answer, fail or deny."""
        name.encode()
        match self._random.randrange(8):
            case 0:
                raise CallFailed(str(value(self._random, 3)))
            case 1:
                return bytes((1 << 20) + self._random.randint(-1, 1))
            case 2:
                raise CallDenied(name)
        return body[::-1]


def from_worker(random: Random) -> bytes:
    """Return what a worker might send for a task: all of it wild, or nearly true."""
    if random.random() < 0.3:
        frames = [_any_frame(random) for _ in range(random.randint(0, 6))]
        return damaged(random, b"".join([*frames, *_TRUE_END]))
    frames = [_while_running(random) for _ in range(random.randint(0, 7))] + _TRUE_END
    if random.random() < 0.4:
        frames[random.randrange(len(frames))] = _any_frame(random)
    said = b"".join(frames)
    return damaged(random, said) if random.random() < 0.4 else said


def _any_frame(random: Random) -> bytes:
    match random.randrange(6):
        case 0:
            return frame(Kind.RESULT, bytes(random.choice([0, 5, 9_999, 10_000, 10_001])))
        case 1:
            return _while_running(random)
        case 2:
            return frame(Kind.END, document(random, _END))
        case 3:
            stop = json.loads(document(random, _STOP))
            return frame(Kind.END, document(random, {**_END, "exit_code": None, "stop": stop}))
        case 4:
            return struct.pack(">IB", number(random) & 0xFFFF_FFFF, random.randrange(256))
        case _:
            return frame(random.choice(list(Kind)), random.randbytes(random.randint(0, 40)))


def _while_running(random: Random) -> bytes:
    """Return a line or a call; one in ten is not as it should be."""
    wrong = random.random() < 0.1
    if random.random() < 0.3:
        return frame(Kind.LOG, random.randbytes(4_097 if wrong else random.randint(0, 4_096)))
    name = random.choice([b"", b"\xff", b"x" * 255]) if wrong else b"echo"
    size = random.randrange(256) if wrong else len(name)
    return frame(Kind.CALL, bytes([size]) + name + bytes(random.randint(0, 9)))


async def hear_a_worker(random: Random) -> str:
    """Let the service's side hear a worker out; return how that ended.

    Raises:
        AssertionError: more was kept than may be, or there was no end though the worker hung up.
    """
    stays, reads = random.random() < 0.2, random.random() < 0.8
    hangs_up = reads and not stays
    ours, theirs = socket.socketpair()
    channel = Channel(ours)
    exchange = Exchange(channel, LIMITS, Whims(random), asyncio.get_running_loop().time)
    theirs.setblocking(False)
    async with asyncio.TaskGroup() as group:
        worker = group.create_task(_play_a_worker(random, theirs, stays=stays, reads=reads))
        try:
            async with asyncio.timeout(_HANG_SECONDS if hangs_up else _SILENCE_SECONDS):
                await exchange.run(random.randbytes(random.choice([0, 10, 10_000])))
        except TimeoutError:
            ended = "hangs" if hangs_up else "silence"
        except (Broken, CallDenied, Closed) as error:
            ended = type(error).__name__
        else:
            ended = "violation" if exchange.violation else "said"
        channel.close()
        worker.cancel()
    assert ended != "hangs", "the service waits for a worker that hung up"
    if exchange.said is not None:
        _check_end(exchange.said.end)
        assert exchange.said.result is None or len(exchange.said.result) <= LIMITS.max_output_bytes
    return f"exchange: {ended}"


async def _play_a_worker(
    random: Random, theirs: socket.socket, *, stays: bool, reads: bool
) -> None:
    loop, said = asyncio.get_running_loop(), from_worker(random)
    with theirs, suppress(OSError):
        at = 0
        while at < len(said):
            size = random.choice([1, 5, 100, 100_000])
            await loop.sock_sendall(theirs, said[at : at + size])
            at += size
        if not stays:
            theirs.shutdown(socket.SHUT_WR)
        while reads and await loop.sock_recv(theirs, 1 << 16):
            pass
        await asyncio.Event().wait()


def hear_a_service(random: Random) -> str:
    """Let the worker's side hear a service out; return how that ended."""
    kinds = list(Kind)
    said = [frame(random.choice(kinds), document(random, _STOP)) for _ in range(3)]
    if random.random() < 0.3:
        said.append(struct.pack(">IB", number(random) & 0xFFFF_FFFF, random.choice(kinds)))
    ours, theirs = socket.socketpair()
    wire = _Side(ours.detach())
    with theirs:
        theirs.sendall(damaged(random, b"".join(said))[:_MOST_AT_ONCE])
    try:
        for _ in range(10):
            wire.read(*random.sample(kinds, random.randint(1, len(kinds))))
    except (Broken, Gone) as error:
        return f"wire: {type(error).__name__}"
    finally:
        wire.close()
    raise AssertionError("more frames were read than were sent")


def read_a_document(random: Random) -> str:
    """Read what a worker says at its start and its end, and what a compiler says."""
    try:
        match random.randrange(4):
            case 0:
                _check_end(read_end(damaged(random, document(random, _END)), LIMITS))
            case 1:
                for layer in read_layers(damaged(random, document(random, _LAYERS))):
                    f"{layer.name} {layer.detail}".encode()
            case 2:
                described = read_described(damaged(random, document(random, _DESCRIBED)))
                for name in (*sum(described.imports, ()), *described.exports):
                    name.encode()
            case _:
                for text in read_refusal(damaged(random, document(random, _REFUSED))):
                    text.encode()
    except Broken:
        return "document: Broken"
    return "document: read"


def _check_end(end: End) -> None:
    """Insist that what is kept of an end can be written, and is within the limits."""
    assert 0 <= end.memory_bytes <= LIMITS.max_memory_mb << 20
    assert 0 <= end.output_bytes <= LIMITS.max_output_bytes
    for text in (end.trap, end.diagnostics, end.violation.detail if end.violation else ""):
        text.encode()
