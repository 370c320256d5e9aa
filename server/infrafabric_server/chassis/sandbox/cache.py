"""A private folder of compiled modules. What is in it is native code, and is run as it is."""

import hashlib
import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from infrafabric_server.chassis.sandbox.compiled import CompiledModule, check
from infrafabric_server.chassis.sandbox.frames import Broken
from infrafabric_server.chassis.sandbox.messages import Described, read_described

# Goes up with every change of the settings of the engine: code compiled under others is refused.
_SETTINGS = 1
_CODE, _NOTE = ".cwasm", ".json"


class NotPrivate(Exception):
    """Others than this service can write to the folder, so that nothing in it can be run."""


class Cache:
    """Compiled modules by the digest of their source, and of what compiled them.

    Args:
        folder: made when it is not there; nobody else may have access.
        most_bytes: of compiled code; beyond, what was not used for longest is removed.

    Raises:
        NotPrivate: others have access to it.
        OSError: it cannot be made.
    """

    def __init__(self, folder: Path, most_bytes: int) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat()
        if status.st_uid != os.geteuid() or status.st_mode & 0o077:
            raise NotPrivate(
                f"{folder} has mode {status.st_mode & 0o777:o} and belongs to user "
                f"{status.st_uid}; compiled modules need a folder of mode 700 of this user's own"
            )
        self._folder = folder
        self._most = most_bytes
        for half in folder.glob(".*"):
            # Others of this user may be compiling into the same folder.
            if not Path("/proc", half.suffix[1:]).exists():
                half.unlink(missing_ok=True)

    def find(self, digest: str) -> CompiledModule | None:
        """Return the module with a digest, if it was compiled."""
        code, note = self._paths(digest)
        try:
            described = read_described(note.read_bytes())
            os.utime(code)
        except (OSError, Broken):
            return None
        kind, calls = check(described)
        return CompiledModule(digest, code, kind, calls, described.optimised)

    @contextmanager
    def writing(self, digest: str) -> Iterator[int]:
        """Give the descriptor of a file to compile into; it is removed after the block."""
        path = self._half(digest)
        # The worker that reads it is another user, and is given a descriptor; the folder is closed.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        try:
            yield descriptor
        finally:
            os.close(descriptor)
            path.unlink(missing_ok=True)

    def keep(self, digest: str, descriptor: int, described: Described) -> None:
        """Keep what was compiled, with what is known of it; waits for the disk."""
        known = asdict(described) | {"exports": sorted(described.exports)}
        code, noted = self._paths(digest)
        os.fchmod(descriptor, 0o644)
        os.fsync(descriptor)
        self._half(digest).replace(code)
        half = self._half(digest)
        half.write_text(json.dumps(known))
        half.replace(noted)
        self._shrink(code)

    def _shrink(self, newest: Path) -> None:
        codes = sorted(self._folder.glob(f"*{_CODE}"), key=lambda it: it.stat().st_mtime)
        total = sum(it.stat().st_size for it in codes)
        for code in codes:
            if total <= self._most or code == newest:
                continue
            total -= code.stat().st_size
            with suppress(OSError):
                # A worker that has it open keeps it.
                code.unlink()
                code.with_suffix(_NOTE).unlink()

    def _paths(self, digest: str) -> tuple[Path, Path]:
        key = hashlib.sha256(f"{digest} {_compiler()}".encode()).hexdigest()
        return self._folder / (key + _CODE), self._folder / (key + _NOTE)

    def _half(self, digest: str) -> Path:
        return self._folder / f".{digest}.{os.getpid()}"


def _compiler() -> str:
    """Return what code depends on besides its source."""
    return json.dumps([version("wasmtime"), _SETTINGS, platform.machine()])
