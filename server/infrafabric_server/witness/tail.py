"""Following the log as it grows."""

from collections.abc import AsyncIterator, Sequence
from typing import Self

from infrafabric_server.store.progress import Progress
from infrafabric_server.store.recent import Recent
from infrafabric_server.witness.log import WitnessLog
from infrafabric_server.witness.models import Entry, EntryFilter

# Characters of bodies that are held: some ten thousand entries, shared by all followers.
_CAPACITY = 4 * 1024 * 1024
# Entries that a follower takes at once.
_BATCH = 1000


class Tail:
    """The end of the log in memory, from which followers are served while they keep up.

    A follower that falls behind reads the log itself until it has caught up: slow ones
    cost no memory and miss nothing.
    """

    def __init__(self, log: WitnessLog, sequence: int) -> None:
        """Take the log, and up to which sequence it is written; see `open`."""
        self._log = log
        self._recent: Recent[Entry] = Recent(sequence, _CAPACITY, lambda entry: len(entry.body))
        self._progress = Progress(sequence)

    @classmethod
    async def open(cls, log: WitnessLog) -> Self:
        """Return the tail of a log that nothing is being appended to yet."""
        last = await log.last()
        return cls(log, 0 if last is None else last.sequence)

    @property
    def sequence(self) -> int:
        """The last sequence that is known."""
        return self._progress.newest

    def add(self, entries: Sequence[Entry]) -> None:
        """Hand new entries, in order, to whoever follows; known ones are passed over."""
        for entry in entries:
            if entry.sequence > self._progress.newest:
                self._recent.append(entry.sequence, entry)
        if entries:
            self._progress.advance(entries[-1].sequence)

    def fail(self, failure: Exception) -> None:
        """End every follower, now or later, with `failure`."""
        self._progress.fail(failure)

    async def follow(self, wanted: EntryFilter, after: int) -> AsyncIterator[Sequence[Entry]]:
        """Yield the entries with a sequence above `after` that match, in order, for ever."""
        while True:
            await self._progress.reached(after + 1)
            floor = self._recent.floor
            if after < floor:
                found, more = await self._log.read(wanted, after=after, upto=floor, limit=_BATCH)
                after = found[-1].sequence if more else floor
            else:
                news = self._recent.after(after)[:_BATCH]
                found = [entry for entry in news if wanted.matches(entry)]
                after = news[-1].sequence
            if found:
                yield found
