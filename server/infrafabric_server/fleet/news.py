"""What one replica tells the others of its commits, over a bus that may lose it.

The watch of the store brings every change to every replica, mostly before the one that made it
has its answer. But a watch hangs for seconds when the member of the cluster that it is on does:
what is said here goes around it. Whoever can send it can mislead a view for as long; what is
decided on that is refused by the store.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence

import structlog

from infrafabric_server.store.mirror import Mirror, Write
from infrafabric_server.store.protocol import Delete, Put, StoreRefused

# Longer news is left to the watch, such as that of a whole board.
MAX_BYTES = 256 * 1024

# How old a commit is when it is told of, so that a watch that keeps up has brought it and the
# message is passed over unread. Those of this time share a message.
_PATIENCE_SECONDS = 0.02

_log = structlog.get_logger(__name__)


class News:
    """Sends what this process commits, and shows in the views what it hears of others.

    A message is the newest revision in it, a line feed, and JSON: a list of commits, oldest
    first, each its revision and a list of keys with their values or null.
    """

    def __init__(
        self,
        mirror: Mirror,
        send: Callable[[bytes], None],
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """Take the views, and what sends a message to all other replicas, if it can.

        `sleep` waits for seconds before commits are told of.
        """
        self._mirror = mirror
        self._send = send
        self._sleep = sleep
        self._gathered: list[tuple[int, Sequence[Write]]] = []
        self._some = asyncio.Event()
        mirror.announce(self.tell)

    def tell(self, revision: int, writes: Sequence[Write]) -> None:
        """Have `run` send what was written at `revision`."""
        if writes:
            self._gathered.append((revision, writes))
            self._some.set()

    async def run(self) -> None:
        """Send what is told, until cancelled."""
        while True:
            await self._some.wait()
            self._some.clear()
            gathered, self._gathered = self._gathered, []
            await self._sleep(_PATIENCE_SECONDS)
            for message in _messages(gathered):
                self._send(message)

    def hear(self, message: bytes) -> None:
        """Show what another replica wrote, unless the watch brought it; ignore anything else."""
        try:
            newest, _, body = message.partition(b"\n")
            if int(newest[:20]) <= self._mirror.revision:
                return
            for revision, changes in json.loads(body):
                writes = [_write(key, value) for key, value in changes]
                self._mirror.hear(int(revision), writes)
        except (ValueError, TypeError, RecursionError, OverflowError, StoreRefused) as error:
            _log.warning("news_ignored", reason=str(error)[:200])


def _messages(gathered: Sequence[tuple[int, Sequence[Write]]]) -> list[bytes]:
    """Return as few messages as are within the limit; a commit that is beyond it is left out."""
    messages: list[bytes] = []
    commits: list[str] = []
    newest = size = 0
    for revision, writes in sorted(gathered, key=lambda commit: commit[0]):
        changes = [(op.key, op.value if isinstance(op, Put) else None) for op in writes]
        commit = json.dumps((revision, changes))
        if len(commit) > MAX_BYTES:
            continue
        if commits and size + len(commit) > MAX_BYTES:
            messages.append(_message(newest, commits))
            commits, size = [], 0
        commits.append(commit)
        newest, size = revision, size + len(commit)
    if commits:
        messages.append(_message(newest, commits))
    return messages


def _message(newest: int, commits: Sequence[str]) -> bytes:
    return f"{newest}\n[{','.join(commits)}]".encode()


def _write(key: object, value: object) -> Write:
    match key, value:
        case str(), str():
            return Put(key, value)
        case str(), None:
            return Delete(key)
        case _:
            raise TypeError("a change is a key with its value or null")
