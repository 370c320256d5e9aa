"""X1: a worker starts whole, or leaves nothing behind."""

import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

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
