"""X1, X2: nothing gets out of a worker, not even by whoever runs in it instead of wasmtime."""

import asyncio
import os
from datetime import timedelta
from pathlib import Path

import pytest

from infrafabric_server.chassis.sandbox.compiled import CompiledModule, ModuleKind
from infrafabric_server.chassis.sandbox.cpu import cpu_share
from infrafabric_server.chassis.sandbox.frames import Kind
from infrafabric_server.chassis.sandbox.limits import Limits
from infrafabric_server.chassis.sandbox.outcome import Outcome, ViolationKind
from infrafabric_server.chassis.sandbox.process import WorkerProcess
from infrafabric_server.chassis.sandbox.warm_worker import WarmWorker
from tests.harness.documents import ROOT
from tests.integration.sandbox import Host

pytestmark = pytest.mark.embedded

TAKEN_OVER = (str(ROOT / "tests/harness/taken_over.py"),)
_LIMITS = Limits(max_memory_mb=64, max_execution_time=timedelta(seconds=5))
_ESCAPE = ViolationKind.ESCAPE

_FIND_DESCRIPTORS = """
said = []
for it in range(64):
    try:
        os.lseek(it, 0, os.SEEK_CUR)
    except OSError as error:
        if error.errno == errno.EBADF:
            continue
    said.append(it)
said.remove(wire._socket.fileno())
"""

# What somebody tries, and what comes of it with all layers on: a violation is seccomp's, which
# kills; EACCES is seccomp's and landlock's; the rest is named.
TRIES: dict[str, tuple[str, str | ViolationKind]] = {
    "read a file": ("open('/etc/passwd')", "EACCES"),
    "read the environment of the service": ("open(f'/proc/{parent}/environ')", "EACCES"),
    "read the memory of the service": ("open(f'/proc/{parent}/mem', 'rb')", "EACCES"),
    "write a file": ("open('/tmp/left-behind', 'w')", "EACCES"),
    "list a folder": ("os.listdir('/')", "EACCES"),
    "remove a file": ("os.unlink(FILE)", _ESCAPE),
    "make a folder": ("os.mkdir('/tmp/left-behind')", _ESCAPE),
    "link a file": ("os.symlink('/etc', '/tmp/left-behind')", _ESCAPE),
    "change the folder": ("os.chdir('/tmp')", _ESCAPE),
    "change the root": ("os.chroot('/tmp')", _ESCAPE),
    "open a socket": ("socket.socket()", _ESCAPE),
    "open a socket of packets": ("socket.socket(socket.AF_PACKET, socket.SOCK_RAW)", _ESCAPE),
    "open a pair of sockets": ("socket.socketpair()", _ESCAPE),
    "take a descriptor from the socket": ("socket.recv_fds(wire._socket, 1, 1)", _ESCAPE),
    "start a process": ("os.fork()", _ESCAPE),
    "become another program": ("os.execv('/bin/true', ['true'])", _ESCAPE),
    "run a program from memory": (
        "os.execve(os.memfd_create('p'), ['p'], {})",
        _ESCAPE,
    ),
    "start a thread": ("threading.Thread(target=print).start()", _ESCAPE),
    "kill the service": ("os.kill(parent, signal.SIGKILL)", _ESCAPE),
    "kill everything": ("os.kill(-1, signal.SIGKILL)", _ESCAPE),
    "kill a thread of the service": ("syscall(234, parent, parent, 9)", _ESCAPE),
    "trace the service": ("syscall(101, 16, parent, 0, 0)", _ESCAPE),
    "read another's memory": ("syscall(310, parent, 0, 0, 0, 0, 0)", _ESCAPE),
    "take another's descriptor": ("syscall(438, 3, 0, 0)", _ESCAPE),
    "become root": ("os.setuid(0)", _ESCAPE),
    "raise a limit": (
        "resource.setrlimit(resource.RLIMIT_NPROC, (9, 9))",
        _ESCAPE,
    ),
    "raise the limit of another": (
        "resource.prlimit(parent, resource.RLIMIT_CPU, (1, 1))",
        _ESCAPE,
    ),
    "outlive the service": ("ctypes.CDLL(None).prctl(1, 0); said = ctypes.get_errno()", "0"),
    "leave for other namespaces": ("syscall(272, 0x10000000)", _ESCAPE),
    "mount a file system": ("syscall(165, 0, 0, 0, 0, 0)", _ESCAPE),
    "load a program into the kernel": ("syscall(321, 0, 0, 0)", _ESCAPE),
    "go around the filter by a ring": ("syscall(425, 1, 0)", _ESCAPE),
    "handle its own page faults": ("syscall(323, 0)", _ESCAPE),
    "add another filter": ("syscall(317, 1, 0, 0)", _ESCAPE),
    "use the other set of system calls": ("syscall(0x40000000 + 39)", _ESCAPE),
    "set the clock": ("time.clock_settime(time.CLOCK_REALTIME, 0)", _ESCAPE),
    "share memory with others": ("syscall(29, 0, 4096, 0o1777)", _ESCAPE),
    "take more memory": ("x = bytearray(1 << 30)", "MemoryError"),
    "take memory that files have": (
        "signal.signal(25, signal.SIG_IGN); os.ftruncate(os.memfd_create('m'), 1 << 30)",
        "EFBIG",
    ),
    "take more descriptors": ("l = [os.memfd_create('m') for _ in range(40)]", "EMFILE"),
    # Python sets one variable itself.
    "find something in its environment": ("said = set(os.environ) - {'LC_CTYPE'}", "set()"),
    "find another open descriptor": (
        _FIND_DESCRIPTORS,
        # The three of every process, which lead to nowhere.
        "[0, 1, 2]",
    ),
    "end itself": ("os._exit(7)", ViolationKind.EXIT),
    "abort itself": ("os.abort()", ViolationKind.EXIT),
    "ignore that it has no time left": (
        "[signal.signal(it, signal.SIG_IGN) for it in (2, 15, 24)]\nwhile True: pass",
        ViolationKind.EXECUTION_TIME,
    ),
}

# The same again with one layer on alone: each of them denies what the others may have missed.
ALONE = {
    ("network", "reach the service over the network", "ENETUNREACH"),
    ("landlock", "read a file", "EACCES"),
    ("landlock", "write a file", "EACCES"),
    ("landlock", "list a folder", "EACCES"),
    ("landlock", "remove a file", "EACCES"),
    ("landlock", "make a folder", "EACCES"),
    ("landlock", "become another program", "EACCES"),
    ("landlock", "kill the service", "EPERM"),
    ("landlock", "reach the service over the network", "EACCES"),
    ("user", "kill the service", "EPERM"),
    ("user", "read the memory of the service", "EACCES"),
    ("user", "become root", "EPERM"),
    ("user", "trace the service", "EPERM"),
    ("user", "change the root", "EPERM"),
    ("user", "open a socket of packets", "EPERM"),
    ("user", "set the clock", "EPERM"),
    ("rlimits", "take more memory", "MemoryError"),
    ("rlimits", "take memory that files have", "EFBIG"),
    ("rlimits", "take more descriptors", "EMFILE"),
}


@pytest.fixture
def artefact(tmp_path: Path) -> CompiledModule:
    """Name a file in place of compiled code: this worker does not read it."""
    path = tmp_path / "none.cwasm"
    path.touch()
    return CompiledModule("0" * 64, path, ModuleKind.CORE, frozenset(), optimised=True)


def _code(text: str, file: Path) -> bytes:
    return text.replace("FILE", repr(str(file))).encode()


async def _attempt(artefact: CompiledModule, code: str, limits: Limits = _LIMITS) -> Outcome:
    worker = await WarmWorker.start(artefact, limits, cpu_share(), program=TAKEN_OVER)
    try:
        assert {it.name for it in worker.layers if not it.held} == set()
        outcome = await worker.run(_code(code, artefact.path), Host())
        assert worker.alive is (not outcome.violations)
        return outcome
    finally:
        await worker.close()


@pytest.mark.parametrize(("code", "expected"), TRIES.values(), ids=TRIES)
async def test_x1_whoever_takes_a_worker_over_gets_nowhere(
    artefact: CompiledModule, code: str, expected: str | ViolationKind
) -> None:
    limits = Limits(max_execution_time=timedelta(seconds=1), max_memory_mb=64)
    outcome = await _attempt(artefact, code, limits if "while True" in code else _LIMITS)
    if isinstance(expected, ViolationKind):
        (violation,) = outcome.violations
        assert violation.kind is expected, violation
        assert outcome.result is None
    else:
        assert outcome.result == expected.encode()


@pytest.mark.parametrize(("layer", "name", "expected"), sorted(ALONE))
async def test_x1_each_layer_denies_by_itself(
    artefact: CompiledModule, layer: str, name: str, expected: str
) -> None:
    listener = await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    connect = f"socket.create_connection(('127.0.0.1', {port}))"
    code = TRIES[name][0] if name in TRIES else connect
    file = os.open(os.devnull, os.O_RDONLY)
    process = WorkerProcess.start(file, {"only": layer}, TAKEN_OVER)
    os.close(file)
    try:
        async with listener, asyncio.timeout(20):
            await process.channel.read(frozenset({Kind.READY}))
            await process.channel.write(Kind.INPUT, _code(code, artefact.path))
            _, said = await process.channel.read(frozenset({Kind.RESULT}))
        assert bytes(said) == expected.encode()
        assert artefact.path.exists()
    finally:
        process.kill()
        await process.exited()
