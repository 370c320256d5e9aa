"""X1: a worker starts whole, or leaves nothing behind."""

import os
import resource
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from infrafabric_server.chassis.sandbox.channel import Channel
from infrafabric_server.chassis.sandbox.frames import HEADER_BYTES, Kind
from infrafabric_server.chassis.sandbox.process import WorkerProcess

# A start opens fewer files than that, all in all.
_ENOUGH = 16


@pytest.fixture
def module() -> Iterator[int]:
    """Return the descriptor of a file."""
    file = os.open("/dev/null", os.O_RDONLY)
    yield file
    os.close(file)


def _left() -> tuple[set[str], str]:
    """Return this process's open files and its children."""
    files = {each.name for each in Path("/proc/self/fd").iterdir()}
    return files, Path(f"/proc/self/task/{os.getpid()}/children").read_text()


def _start(module: int, room: int) -> WorkerProcess | None:
    """Start a process that waits, with room for so many more files; None when that is too few."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    first_free = os.dup(module)
    os.close(first_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (first_free + room, hard))
    try:
        return WorkerProcess.start(module, {}, ("-c", "import signal; signal.pause()"))
    except OSError:
        return None
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_x1_whichever_file_cannot_be_opened_no_process_and_no_file_is_left(
    module: int,
) -> None:
    before, started = _left(), 0
    for room in range(_ENOUGH):
        process = _start(module, room)
        if process is not None:
            started += 1
            assert process.cpu_seconds() > 0
            assert process.accounts.peak_rss_bytes() > 0
            process.kill()
            await process.exited()
            assert process.accounts.peak_rss_bytes() == 0
        assert _left() == before, f"with room for {room} more files"
    assert 0 < started < _ENOUGH


@pytest.mark.parametrize("module", [b"(module)", b"", b"nonsense"], ids=["good", "empty", "bad"])
async def test_x1_a_worker_that_has_compiled_ends_by_itself(tmp_path: Path, module: bytes) -> None:
    target = os.open(tmp_path / "compiled", os.O_RDWR | os.O_CREAT, 0o600)
    settings = {
        "compile": True,
        "quick": True,
        "cpu_seconds": 15,
        "data_bytes": 1 << 30,
        "file_bytes": 1 << 20,
    }
    try:
        process = WorkerProcess.start(target, settings)
    finally:
        os.close(target)
    await process.channel.read(frozenset({Kind.READY}))
    await process.channel.write(Kind.MODULE, module)
    await process.channel.read(frozenset({Kind.COMPILED, Kind.REFUSED}))
    # Not killed by the filter of system calls, which the kernel would log.
    assert (await process.exited()).code == 0
    process.channel.close()


async def test_x1_a_small_frame_goes_out_in_one_piece() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    channel = Channel(ours)
    with theirs:
        for body in (b"", b"x", b"x" * 1_000):
            # Who has read it may be gone already.
            await channel.write(Kind.INPUT, body)
            assert len(theirs.recv(1 << 16)) == HEADER_BYTES + len(body)
    channel.close()
