"""What waits in the outbox, as one replica knows it."""

import asyncio
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice

from infrafabric_server.store.progress import Progress
from infrafabric_server.store.protocol import Compacted, Event, KeyValue, Put, Store, WatchBatch
from infrafabric_server.witness.models import Sealed
from infrafabric_server.witness.outbox import PREFIX

# Up to where the log goes. Beside the outbox, so that one read or watch shows both at one
# revision: what is gone from the outbox then is in the log up to there.
SEALED = "outbox.sealed"
# Where both are.
BOTH = "outbox"
_PAGE = 10_000
# Changes that are held while the outbox is read.
_MAX_HELD = 10_000


@dataclass(frozen=True, slots=True)
class OutboxState:
    """The outbox at a revision of the store.

    `waiting` is in the order of decision: transactions that share a revision are of one
    replica, and their keys rise in the order in which it made them. `sealed` is how far the
    log went at least; None for a log that was never written.
    """

    waiting: Sequence[KeyValue]
    sealed: Sealed | None
    revision: int


async def read_outbox(store: Store) -> OutboxState:
    """Return the outbox as it is now. Raises StoreError."""
    while True:
        page = await store.range(BOTH, limit=_PAGE)
        found = list(page.kvs)
        # Compacted in the middle: what was read is ten minutes old, so begin anew.
        with suppress(Compacted):
            revision = page.revision
            while page.more:
                page = await store.range(BOTH, limit=_PAGE, after=found[-1].key, revision=revision)
                found.extend(page.kvs)
            drafts = (kv for kv in found if kv.key.startswith(PREFIX))
            return OutboxState(
                sorted(drafts, key=lambda kv: (kv.mod_revision, kv.key)),
                next((read_sealed(kv.value) for kv in found if kv.key == SEALED), None),
                revision,
            )


def put_sealed(sealed: Sealed) -> Put:
    """Return the operation that says how far the log goes, for where drafts are removed."""
    return Put(SEALED, sealed.model_dump_json())


class Waiting:
    """The outbox as it was at one revision, kept up to date by a mirror, less what is sealed.

    It never goes back: what the store told of an earlier revision is passed over, so that
    nothing that was removed comes back, whichever way news arrives first. Where the mirror
    starts over, what is here grows old, as it does when news are late, until the outbox is
    read anew; what the mirror tells meanwhile is held for that.
    """

    def __init__(self, changed: Callable[[], None] = lambda: None) -> None:
        """Call `changed` whenever something else may wait here, or the log be known to go on."""
        # Every decision up to this revision of the store is in the log.
        self.settled = Progress(0)
        self.sealed: Sealed | None = None
        # Set while `load` has to close a gap.
        self.gap = asyncio.Event()
        self._changed = changed
        self._kvs: dict[str, KeyValue] = {}
        # Those of them that are in the log, and about to be removed.
        self._leaving: frozenset[str] = frozenset()
        self._revision = 0
        # What is read must not be older.
        self._least = 0
        # What came after a gap, by revision.
        self._held: list[tuple[int, Sequence[Event]]] = []

    def __len__(self) -> int:
        return len(self._kvs) - len(self._leaving)

    def first(self, count: int) -> list[KeyValue]:
        """Return the first `count` in the order of decision."""
        return list(islice(self._staying(), count))

    def take(self, batch: WatchBatch) -> None:
        """Take the next revision; see Follower."""
        events = [event for event in batch.events if event.key.startswith(BOTH)]
        if not events:
            # Here nothing is new, and nobody waits for a revision that decided nothing.
            return
        if self.gap.is_set():
            self._hold(batch.revision, events)
        elif batch.revision > self._revision:
            self._apply(batch.revision, events)
            self._changed()

    def start_over(self, revision: int) -> None:
        """Take notice that what came before `revision` is unknown; see Follower."""
        if revision > self._revision:
            self._least = max(self._least, revision)
            self.gap.set()

    def end(self, failure: Exception) -> None:
        """Make whoever waits for `settled` fail; see Follower."""
        self.settled.fail(failure)

    def load(self, state: OutboxState) -> bool:
        """Make sure that this is no older than what was read; return False if that was too old."""
        if state.revision <= self._revision and not self.gap.is_set():
            return True
        if state.revision < self._least:
            return False
        self._kvs = {kv.key: kv for kv in state.waiting}
        self._revision = state.revision
        self._leaving &= self._kvs.keys()
        self._know(state.sealed)
        self._settle()
        self.gap.clear()
        for revision, events in self._held:
            if revision > self._revision:
                self._apply(revision, events)
        self._held.clear()
        self._changed()
        return True

    def seal(self, keys: Collection[str], sealed: Sealed) -> None:
        """Take notice that `keys` are in the log, which goes up to `sealed` at least."""
        self._leaving = frozenset(keys) & self._kvs.keys()
        self._know(sealed)
        self._settle()
        self._changed()

    def removed(self, keys: Collection[str], revision: int) -> None:
        """Take notice that the sealed `keys` left the outbox, before or at `revision`."""
        self._least = max(self._least, revision)
        for key in keys:
            self._kvs.pop(key, None)
        self._leaving = frozenset()

    def doubt(self) -> None:
        """Take back that keys are about to be removed: it is not known what became of that."""
        self._leaving = frozenset()

    def _hold(self, revision: int, events: Sequence[Event]) -> None:
        self._held.append((revision, events))
        if len(self._held) > _MAX_HELD:
            # The outbox cannot be read for long: what will be read has these, too.
            self._held.clear()
            self._least = max(self._least, revision)

    def _apply(self, revision: int, events: Iterable[Event]) -> None:
        self._revision = revision
        gone = False
        for event in events:
            if event.key == SEALED:
                self._know(None if event.kv is None else read_sealed(event.kv.value))
            elif event.kv is None:
                self._kvs.pop(event.key, None)
                gone = True
            elif event.key.startswith(PREFIX):
                self._kvs[event.key] = event.kv
        if gone:
            self._leaving &= self._kvs.keys()
            self._settle()

    def _staying(self) -> Iterator[KeyValue]:
        return (kv for kv in self._kvs.values() if kv.key not in self._leaving)

    def _know(self, sealed: Sealed | None) -> None:
        if sealed is not None and (self.sealed is None or self.sealed.sequence < sealed.sequence):
            self.sealed = sealed

    def _settle(self) -> None:
        first = next(self._staying(), None)
        self.settled.advance(self._revision if first is None else first.mod_revision - 1)


def read_sealed(value: str) -> Sealed | None:
    """Return how far the log went; None when the key was written by hand, which stops nothing."""
    try:
        return Sealed.model_validate_json(value)
    except ValueError:
        return None
