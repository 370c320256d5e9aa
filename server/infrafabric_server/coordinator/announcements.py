"""Texts for everyone, sent to the sessions of this replica."""

from collections.abc import Iterable
from itertools import zip_longest

from infrafabric_server.coordinator.frames import Said
from infrafabric_server.coordinator.link import Links
from infrafabric_server.coordinator.records import Records
from infrafabric_server.fleet.models import Broadcast
from infrafabric_server.store.mirror import Change
from infrafabric_server.store.protocol import WatchBatch


class Announcements:
    """Sends each text once, in the order of the revisions; connect it before the mirror starts.

    A session that was cut resumes after the last text that it was sent, so none may be passed by a
    later one. Where other replicas write, too, views may show a text before an earlier one: it
    waits until they hold all that came before.
    """

    def __init__(self, records: Records, links: Links) -> None:
        self._records = records
        self._links = links
        self._ahead: dict[str, int] = {}

    def connect(self) -> None:
        """Follow the texts."""
        self._records.broadcasts.subscribe(self._changed)
        if self._records.mirror.shared:
            self._records.mirror.follow(self)

    def take(self, batch: WatchBatch) -> None:
        """See Follower."""
        self._flush(batch.revision)

    def start_over(self, revision: int) -> None:
        """See Follower."""
        self._flush(revision)

    def end(self, failure: Exception) -> None:
        """See Follower: sessions end by themselves."""

    def _changed(self, change: Change[Broadcast]) -> None:
        if change.new is None or change.old is not None:
            return
        if self._records.mirror.shared:
            self._ahead[change.id] = change.revision
        else:
            self._say([(change.revision, change.new)])

    def _flush(self, revision: int) -> None:
        if not self._ahead:
            return
        due = [each for each, shown in self._ahead.items() if shown <= revision]
        found = []
        for broadcast_id in due:
            del self._ahead[broadcast_id]
            entry = self._records.broadcasts.entry(broadcast_id)
            # What was only heard of may never have been.
            if entry is not None:
                found.append((entry.mod_revision, entry.value))
        self._say(found)

    def _say(self, texts: Iterable[tuple[int, Broadcast]]) -> None:
        for said in sayings(texts):
            for link in self._links.live():
                link.send(said)


def sayings(texts: Iterable[tuple[int, Broadcast]]) -> list[Said]:
    """Return what is sent of texts and their revisions, in order.

    Texts may share a revision. Only the last one of it ends it: who is cut before that is sent it
    all once more.
    """
    ordered = sorted(texts, key=lambda text: text[0])
    later = [revision for revision, _ in ordered[1:]]
    return [
        Said(text, revision - 1 if revision == following else revision)
        for (revision, text), following in zip_longest(ordered, later)
    ]
