"""What one replica tells the others of its commits, over a bus that may lose it.

The watch of the store brings every change to every replica, mostly before the one that made it
has its answer. But a watch hangs for seconds when the member of the cluster that it is on does:
what is said here goes around it. Whoever can send it can mislead a view for as long; what is
decided on that is refused by the store.
"""

import json
from collections.abc import Callable, Sequence

import structlog

from infrafabric_server.store.mirror import Mirror, Write
from infrafabric_server.store.protocol import Delete, Put, StoreRefused

# Longer news is left to the watch, such as that of a whole board.
MAX_BYTES = 256 * 1024

_log = structlog.get_logger(__name__)


class News:
    """Sends what this process commits, and shows in the views what it hears of others.

    A message is the revision, a line feed, and JSON: a list of keys, each with its value or null.
    """

    def __init__(self, mirror: Mirror, send: Callable[[bytes], None]) -> None:
        """Take the views, and what sends a message to all other replicas, if it can."""
        self._mirror = mirror
        self._send = send
        mirror.announce(self.tell)

    def tell(self, revision: int, writes: Sequence[Write]) -> None:
        """Send what was written at `revision`."""
        if not writes:
            return
        changes = [(op.key, op.value if isinstance(op, Put) else None) for op in writes]
        message = f"{revision}\n{json.dumps(changes)}".encode()
        if len(message) <= MAX_BYTES:
            self._send(message)

    def hear(self, message: bytes) -> None:
        """Show what another replica wrote, unless the watch brought it; ignore anything else."""
        try:
            head, _, body = message.partition(b"\n")
            revision = int(head[:20])
            if revision <= self._mirror.revision:
                return
            writes = [_write(key, value) for key, value in json.loads(body)]
            self._mirror.hear(revision, writes)
        except (ValueError, TypeError, RecursionError, StoreRefused) as error:
            _log.warning("news_ignored", reason=str(error)[:200])


def _write(key: object, value: object) -> Write:
    match key, value:
        case str(), str():
            return Put(key, value)
        case str(), None:
            return Delete(key)
        case _:
            raise TypeError("a change is a key with its value or null")
