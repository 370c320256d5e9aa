"""Disks that a test can spoil and repair again; each is the kernel's doing, not a pretence."""

import asyncio
import errno
import os
import resource
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import gettempdir
from typing import Protocol

from tests.harness.server import ServerProcess

_SPACE = ("unshare", "--user", "--map-root-user", "--mount", "--propagation", "private", "--")
_CHUNK = 64 * 1024
# Says when it has the lock, and gives it back when its standard input ends.
_LOCKER = """
import sqlite3, sys
held = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
held.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.read()
"""


class Disk(Protocol):
    """Where a server keeps its data."""

    @property
    def wrapper(self) -> Sequence[str]:
        """Command that starts a program which sees the disk."""
        ...

    def spoil(self, server: ServerProcess, /) -> None:
        """Let every write fail that needs more room."""
        ...

    def repair(self, server: ServerProcess, /) -> None:
        """Let writes pass again."""
        ...


class FullDisk:
    """A small file system of its own, in a mount namespace that ends with the test."""

    def __init__(self, space: int, folder: Path) -> None:
        self.wrapper = ("nsenter", "--target", str(space), "--user", "--mount", "--")
        # The file system as seen from outside of the namespace.
        self._filler = Path(f"/proc/{space}/root{folder}/filler")

    def spoil(self, _server: ServerProcess, /) -> None:
        """Fill it to the last byte."""
        with self._filler.open("ab", buffering=0) as filler:
            chunk = _CHUNK
            while chunk:
                try:
                    filler.write(b"x" * chunk)
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    chunk //= 2

    def repair(self, _server: ServerProcess, /) -> None:
        """Make room again."""
        self._filler.unlink()


class FailingDisk:
    """A disk on which no file of the server may grow: the kernel refuses it with an error."""

    wrapper = ()

    def spoil(self, server: ServerProcess, /) -> None:
        """Forbid the server to write beyond the first bytes of any file."""
        self._limit(server, 1024)

    def repair(self, server: ServerProcess, /) -> None:
        """Take the limit back."""
        self._limit(server, resource.RLIM_INFINITY)

    def _limit(self, server: ServerProcess, size: int) -> None:
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (size, hard))


def namespaces_permitted() -> bool:
    """Tell whether this user may mount a file system in a namespace of its own."""
    command = (*_SPACE, "mount", "-t", "tmpfs", "tmpfs", gettempdir())
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@asynccontextmanager
async def full_disk(folder: Path, size: int) -> AsyncIterator[FullDisk]:
    """Mount a file system of `size` bytes at `folder` for the processes of its wrapper."""
    script = 'mount -t tmpfs -o size="$1" tmpfs "$2" && echo mounted && exec cat'
    command = (*_SPACE, "sh", "-c", script, "sh", str(size), os.fspath(folder))
    async with _holding(command, "mounted") as holder:
        yield FullDisk(holder, folder)


@asynccontextmanager
async def failing_disk() -> AsyncIterator[FailingDisk]:
    """Return a disk that fails without being full."""
    yield FailingDisk()


@asynccontextmanager
async def locked(database: Path, disk: Disk) -> AsyncIterator[None]:
    """Keep everyone else from writing to a SQLite file of `disk`, as a backup tool may."""
    command = (*disk.wrapper, sys.executable, "-c", _LOCKER, os.fspath(database))
    async with _holding(command, "locked"):
        yield


@asynccontextmanager
async def _holding(command: Sequence[str], word: str) -> AsyncIterator[int]:
    """Run a program that says `word` when it holds something, until its input ends."""
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert await process.stdout.readline() == f"{word}\n".encode()
        yield process.pid
    finally:
        process.stdin.close()
        await process.wait()
