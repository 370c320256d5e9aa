"""The file of a policy: read at the start, and again when it changes or on request."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path

import structlog
import yaml

from infrafabric_server.clock import Clock
from infrafabric_server.governor.policy.book import Effective, PolicyBook
from infrafabric_server.governor.policy.checking import Checked, check
from infrafabric_server.governor.policy.document import MAX_BYTES, Problem

# How often the file's time and size are looked at.
_LOOK_SECONDS = 1.0

_log = structlog.get_logger(__name__)

_Stamp = tuple[int, int, int] | None


class PolicyFileError(Exception):
    """A server cannot start with the file; the text says what is wrong with it, line by line."""


class PolicyFile:
    """Keeps a book at what a file says; without a file it stays at the defaults.

    `problems` says why the file as it is now is not in force, `load_time` since when what is in
    force is.
    """

    def __init__(
        self,
        path: Path | None,
        book: PolicyBook,
        clock: Clock,
        *,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """Take the file, the book that it rules, and what times them.

        `sleep` waits for a number of seconds between two looks at the file.
        """
        self.path = path
        self.book = book
        self.problems: tuple[Problem, ...] = ()
        self.load_time: datetime = clock.now()
        self._clock = clock
        self._sleep = sleep
        self._stamp: _Stamp = None
        self._seen: object = None
        self._reading = asyncio.Lock()
        self._asked = asyncio.Event()

    def load(self) -> None:
        """Put the file in force. Raises PolicyFileError unless it is good."""
        if self.path is None:
            return
        self._stamp = _stamp(self.path)
        try:
            checked = check(read(self.path))
        except OSError as error:
            raise PolicyFileError(
                f"policy: {self.path} cannot be read: {error.strerror}"
            ) from error
        if checked.effective is None:
            raise PolicyFileError(f"policy: {told(self.path, checked.problems)}")
        self._take(checked)

    def ask(self) -> None:
        """Have `run` read the file at once, such as for SIGHUP."""
        self._asked.set()

    async def run(self) -> None:
        """Follow the file, until cancelled."""
        if self.path is None:
            return
        async with asyncio.TaskGroup() as group:
            group.create_task(self._look(self.path))
            while True:
                await self._asked.wait()
                self._asked.clear()
                await self.reload(self.path)

    async def reload(self, path: Path) -> None:
        """Read the file; a good one comes into force, a bad one changes nothing."""
        self._stamp = _stamp(path)
        try:
            checked = await asyncio.to_thread(lambda: check(read(path)))
        except OSError as error:
            self._refuse(str(error), (Problem("", 0, f"cannot be read: {error.strerror}"),))
            return
        if checked.effective is None:
            self._refuse(checked.hash, checked.problems)
            return
        self._seen, self.problems = None, ()
        if checked.hash != self.book.current.hash:
            self._take(checked)
            _log.info("policy_loaded", file=str(path), policy_hash=checked.hash)

    async def _look(self, path: Path) -> None:
        while True:
            await self._sleep(_LOOK_SECONDS)
            if _stamp(path) != self._stamp:
                self.ask()

    def _take(self, checked: Checked) -> None:
        assert checked.effective is not None
        self.book.install(checked.effective)
        self.load_time = self._clock.now()

    def _refuse(self, content: str, problems: tuple[Problem, ...]) -> None:
        self.problems = problems
        if content == self._seen:
            return
        self._seen = content
        assert self.path is not None
        _log.error(
            "policy_refused",
            reason=told(self.path, problems),
            policy_hash=self.book.current.hash,
            advice="the policy before stays in force; correct the file, and see `policy check`",
        )


def spelled_out(policy: Effective) -> str:
    """Return a policy as YAML, with every default."""
    text: str = yaml.safe_dump(policy.policy.model_dump(mode="json"), sort_keys=False, width=100)
    return text


def told(path: Path, problems: tuple[Problem, ...]) -> str:
    """Return problems on one line each, as compilers do."""
    return "\n".join(
        f"{path}:{each.line}: {each.path}{': ' if each.path else ''}{each.problem}"
        for each in problems
    )


def read(path: Path) -> bytes:
    """Return what a file has, up to a little more than a policy may have. Raises OSError."""
    with path.open("rb") as file:
        # One byte more than is allowed: enough to refuse a longer file, even one without an end.
        return file.read(MAX_BYTES + 1)


def _stamp(path: Path) -> _Stamp:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
