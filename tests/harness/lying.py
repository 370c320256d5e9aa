"""Bytes as a worker might send them that wants to harm the service.

    python -m tests.harness.lying --seconds 600 --seed 7

sends them to the service's side of the protocol for as long, and prints how it took them.
"""

import argparse
import asyncio
import json
import random
import socket
import sys
import time
from contextlib import suppress
from datetime import timedelta

from infrafabric_server.chassis.sandbox.channel import Channel, Closed
from infrafabric_server.chassis.sandbox.exchange import Exchange
from infrafabric_server.chassis.sandbox.frames import Broken, Kind, header
from infrafabric_server.chassis.sandbox.host import CallDenied, CallFailed
from infrafabric_server.chassis.sandbox.limits import Limits

LIMITS = Limits(
    max_memory_mb=1,
    max_output_bytes=1_000,
    max_api_calls_per_second=4,
    max_execution_time=timedelta(seconds=20),
)
_END: dict[str, object] = {
    "exit_code": 0,
    "trap": "",
    "memory_bytes": 0,
    "output_bytes": 0,
    "diagnostics": "",
    "stop": None,
}
_SELDOM, _OFTEN = 0.1, 0.4
_VALUES: tuple[object, ...] = (
    *(None, True, -1, 0, 1 << 70, 1.5, "", "x" * 9_000, "\ud800"),
    *([], {}, {"kind": "memory"}),
)


class _Host:
    async def log(self, text: str) -> None:
        text.encode()

    async def call(self, name: str, body: bytes) -> bytes:
        if name == "echo":
            return body
        if name == "fail":
            raise CallFailed("no")
        raise CallDenied(name)


def lie(chance: random.Random) -> bytes:
    """Return what a worker sends in one task: frames, whole or not, true or not."""
    kinds = [chance.choice((Kind.LOG, Kind.CALL)) for _ in range(chance.randint(0, 7))]
    kinds += (Kind.RESULT, Kind.END)
    if chance.random() < _OFTEN:
        kinds[chance.randrange(len(kinds))] = chance.choice(list(Kind))
    data = b"".join(_frame(kind, chance) for kind in kinds)
    for _ in range(chance.choice((0, 0, 0, 1, 3))):
        at = chance.randrange(len(data))
        data = (
            data[:at] + chance.randbytes(chance.randint(0, 6)) + data[at + chance.randint(0, 4) :]
        )
        data = data or b"\0"
    return data[: chance.choice((len(data), len(data), chance.randint(0, len(data))))]


async def hear(sent: bytes) -> str:
    """Have the service hear what was sent, and then the end; return how it took that.

    Raises:
        AssertionError: more was kept than may be, or there was no end.
    """
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    channel = Channel(ours)
    exchange = Exchange(channel, LIMITS, _Host(), time.monotonic)
    sending = asyncio.create_task(_send(theirs, sent))
    try:
        async with asyncio.timeout(20):
            await exchange.run(b"task")
    except (Broken, Closed, CallDenied) as found:
        return type(found).__name__
    finally:
        channel.close()
        await sending
        theirs.close()
    if exchange.violation is not None:
        return "violation"
    assert exchange.said is not None, "a task without an end"
    assert len(exchange.said.result or b"") <= LIMITS.max_output_bytes
    assert exchange.said.end.memory_bytes <= LIMITS.max_memory_mb << 20
    return "ended"


async def _send(theirs: socket.socket, data: bytes) -> None:
    loop = asyncio.get_running_loop()
    with suppress(OSError):
        await loop.sock_sendall(theirs, data)
        theirs.shutdown(socket.SHUT_WR)
        while await loop.sock_recv(theirs, 65_536):
            pass


def _frame(kind: Kind, chance: random.Random) -> bytes:
    match kind:
        case Kind.CALL:
            name = chance.choice((b"echo", b"echo", b"fail", b"fail", b"root", b"", b"\xff"))
            size = chance.randrange(256) if chance.random() < _SELDOM else len(name)
            body = bytes([size]) + name
        case Kind.END:
            document = dict(_END)
            if chance.random() < _OFTEN:
                document[chance.choice(list(_END))] = chance.choice(_VALUES)
            body = json.dumps(document).encode()
        case _:
            body = chance.randbytes(chance.choice((0, 1, 10, 100, 1_000, 1_001)))
    return header(kind, len(body)) + body


async def _main(seconds: float, seed: int) -> None:
    chance = random.Random(seed)
    ends: dict[str, int] = {}
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        end = await hear(lie(chance))
        ends[end] = ends.get(end, 0) + 1
    sys.stdout.write(f"seed {seed}: {sum(ends.values())} tasks, {ends}\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    given = parser.parse_args()
    asyncio.run(_main(given.seconds, given.seed))
