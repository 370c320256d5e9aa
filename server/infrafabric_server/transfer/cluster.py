"""The prefix of an etcd cluster, with its witness log elsewhere, as the place of a fabric."""

from collections.abc import AsyncGenerator
from typing import Self

from infrafabric_server.store.etcd.copying import Fabric, steps
from infrafabric_server.store.protocol import KeyValue, StoreRefused
from infrafabric_server.transfer import stream_log
from infrafabric_server.transfer.dumpreader import Dump
from infrafabric_server.transfer.revisions import Renumber, moved
from infrafabric_server.witness.models import Entry, Sealed
from infrafabric_server.witness.stream import LogStream
from infrafabric_server.witness.waiting import SEALED, read_sealed

# A server keeps one of these on a lease: the leader's key as long as it runs.
_SIGNS_OF_LIFE = ("leader/", "sessions/")


class ClusterSource:
    """The fabric under a prefix, at one revision; see Source."""

    kind = "etcd"

    def __init__(self, fabric: Fabric, log: LogStream, revision: int) -> None:
        self._fabric = fabric
        self._log = log
        self._revision = revision

    @property
    def revision(self) -> int:
        """See Source."""
        return self._revision

    def kvs(self) -> AsyncGenerator[KeyValue, None]:
        """See Source."""
        return self._fabric.kvs(self._revision)

    def entries(self) -> AsyncGenerator[Entry, None]:
        """See Source."""
        return stream_log.read(self._log)


class Cluster:
    """See Place.

    Args:
        fabric: the prefix.
        log: the stream with its witness log; whoever made it closes it.

    Attributes:
        log: that stream.
    """

    def __init__(self, fabric: Fabric, log: LogStream) -> None:
        self._fabric = fabric
        self.log = log

    async def source(self) -> ClusterSource:
        """See Place."""
        return ClusterSource(self._fabric, self.log, await self._fabric.revision())

    async def sealed(self) -> Sealed | None:
        """Return how far the log went at least, as the store has it. Raises StoreError."""
        value = await self._fabric.value(SEALED)
        return None if value is None else read_sealed(value)

    async def check_unused(self) -> None:
        """See Place."""
        if key := await self._fabric.in_use(_SIGNS_OF_LIFE):
            raise StoreRefused(
                f"a server runs on {self._fabric.address} ({key} is held): stop every server of "
                "this fabric; what a killed one holds ends within 20 s"
            )

    async def check_empty(self) -> None:
        """See Place."""
        if not await self._fabric.is_empty():
            raise StoreRefused(
                f"{self._fabric.address} holds something already; restore under another prefix"
            )

    async def fill(self, dump: Dump) -> Renumber:
        """See Place: the keys get new revisions in the order of the old ones.

        A witness log that outlived its store stays: one that has a part of the dump's is
        continued, and one that goes on after it is kept.
        """
        entries = dump.entries()
        head, more = await stream_log.going_on(self.log, entries)
        # What is decided from now on was decided later than all that is in the log.
        newest = max(dump.header.revision, head.revision if head and more else 0)
        renumber = await self._fabric.begin(newest)
        for revision, places in steps(dump.kvs()):
            # What is named in a value was changed before the value was, or with it.
            changes = [(kv.key, moved(kv.key, kv.value, renumber)) for kv in dump.kvs_at(places)]
            renumber.add(revision, await self._fabric.put(changes))
        await stream_log.extend(self.log, entries)
        await self._fabric.finish(renumber)
        return renumber

    async def __aenter__(self) -> Self:
        """See Place."""
        return self

    async def __aexit__(self, *_error: object) -> None:
        """See Place."""
        await self._fabric.close()
