"""Whole processes: a worker that says whatever it is told, and a service that none can serve."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from random import Random

from infrafabric_server.chassis.sandbox.compiled import CompiledModule
from infrafabric_server.chassis.sandbox.cpu import CpuShare
from infrafabric_server.chassis.sandbox.frames import Kind
from infrafabric_server.chassis.sandbox.outcome import ViolationKind
from infrafabric_server.chassis.sandbox.process import WORKER
from infrafabric_server.chassis.sandbox.start import StartFailed
from infrafabric_server.chassis.sandbox.warm_module import WarmModule
from infrafabric_server.chassis.sandbox.warm_worker import WarmWorker
from tests.fuzz import puppet
from tests.fuzz.chance import damaged, document
from tests.fuzz.wire import LIMITS, Whims, frame, from_worker

# A worker that has heard what it may not hear ends at once; on a busy machine at once is long.
_END_SECONDS = 30.0
# What a guest may be stopped for; anything else was done by its worker.
_BY_GUESTS = frozenset(
    {
        ViolationKind.MEMORY,
        ViolationKind.STACK,
        ViolationKind.OUTPUT,
        ViolationKind.API_CALLS,
        ViolationKind.API_DENIED,
    }
)

# Greets, and then says what its tasks hold.
_LIAR = """
import socket, struct, sys
wire = socket.socket(fileno=int(sys.argv[1]))
def body():
    size, _ = struct.unpack(">IB", wire.recv(5, socket.MSG_WAITALL))
    return wire.recv(size - 1, socket.MSG_WAITALL)
body()
wire.sendall(bytes.fromhex("{greeting}"))
while {goes_on}:
    wire.sendall(body())
"""


async def obey(random: Random, puppets: Sequence[WarmModule]) -> str:
    """Let a guest do whatever it likes; return how that ended."""
    warm = puppets[max(0, random.randrange(3 * len(puppets)) - 2 * len(puppets))]
    outcome = await warm.run(puppet.request(random), Whims(random))
    kinds = {it.kind for it in outcome.violations}
    assert kinds <= _BY_GUESTS, outcome
    outcome.diagnostics.encode()
    outcome.trap.encode()
    if kinds:
        return f"guest: {', '.join(kinds)}"
    return "guest: trap" if outcome.exit_code is None else "guest: exit"


async def start_a_liar(random: Random, module: CompiledModule, share: CpuShare) -> str:
    """Start a worker that says something else, and give it tasks; return how that ended."""
    ready = json.dumps({"layers": [["network", True, ""]]}).encode()
    greeting = frame(Kind.READY, ready)
    # Whoever waits for the rest of a greeting must hear that there is none.
    goes_on = random.random() < 0.7
    if not goes_on:
        greeting = damaged(random, greeting)
    program = ("-c", _LIAR.format(greeting=greeting.hex(), goes_on=goes_on))
    # Those who say nothing more are waited for, as long as this.
    limits = replace(LIMITS, max_execution_time=timedelta(seconds=0.2))
    try:
        worker = await WarmWorker.start(module, limits, share, program=program)
    except StartFailed:
        return "liar: not started"
    last = "ended"
    try:
        for _ in range(20):
            outcome = await worker.run(from_worker(random), Whims(random))
            last = outcome.violations[0].kind.value if outcome.violations else "ended"
            assert worker.alive == (not outcome.violations)
            if not worker.alive:
                break
    finally:
        await worker.close()
    return f"liar: {last}"


def leave_a_service(random: Random, compiled: Path) -> str:
    """Be a service that nobody can serve; return how its worker ended."""
    terms = {
        "memory_bytes": 16 << 20,
        "output_bytes": 10_000,
        "calls_per_second": 50,
        "clock": False,
        "cpu_seconds": 5,
    }
    settings = {
        "compile": False,
        "parent": os.getpid(),
        "data_bytes": 100 << 20,
        "file_bytes": 1 << 20,
        "terms": terms,
    }
    described = json.dumps(settings).encode()
    if random.random() < 0.3:
        described = document(random, settings)
    request = puppet.request(random)
    said = frame(Kind.SETTINGS, described)
    said += damaged(random, frame(Kind.INPUT, request))
    ours, theirs = socket.socketpair()
    with ours, theirs, compiled.open("rb") as file:
        process = subprocess.Popen(
            [sys.executable, "-I", *WORKER, str(theirs.fileno()), str(file.fileno())],
            pass_fds=(theirs.fileno(), file.fileno()),
            env={},
            cwd="/",
            stderr=subprocess.DEVNULL,
        )
        try:
            theirs.close()
            ours.settimeout(_END_SECONDS)
            # It may have ended, and closed its end with something unread.
            with suppress(BrokenPipeError, ConnectionResetError):
                ours.sendall(said)
                ours.shutdown(socket.SHUT_WR)
                while ours.recv(1 << 16):
                    pass
            return f"worker: exit code {process.wait(_END_SECONDS)}"
        finally:
            process.kill()
            process.wait()
