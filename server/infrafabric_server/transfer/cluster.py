"""The prefix of an etcd cluster, with its witness log elsewhere, as the place of a fabric."""

from collections.abc import AsyncGenerator, Sequence
from typing import Protocol, Self

from infrafabric_server.store.etcd.copying import Fabric, steps
from infrafabric_server.store.protocol import KeyValue, StoreRefused
from infrafabric_server.transfer.dumpreader import Dump
from infrafabric_server.transfer.revisions import Renumber, moved
from infrafabric_server.witness.models import Entry

# A server keeps one of these on a lease: the leader's key as long as it runs.
_SIGNS_OF_LIFE = ("leader/", "sessions/")
# Entries that are appended to the witness log at once.
_BATCH = 1_000


class SharedLog(Protocol):
    """The witness log of a fabric of several replicas. Its methods raise StoreError."""

    def entries(self) -> AsyncGenerator[Entry, None]:
        """Yield what is sealed up to now, from the first entry on."""
        ...

    async def is_empty(self) -> bool:
        """Tell whether nothing was ever sealed."""
        ...

    async def clear(self) -> None:
        """Remove all of it: what a restore that was cut off has left."""
        ...

    async def append(self, entries: Sequence[Entry]) -> None:
        """Add entries to its end, durably."""
        ...

    async def close(self) -> None:
        """Release what it holds."""
        ...


class ClusterSource:
    """The fabric under a prefix, at one revision; see Source."""

    kind = "etcd"

    def __init__(self, fabric: Fabric, log: SharedLog, revision: int) -> None:
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
        return self._log.entries()


class Cluster:
    """See Place.

    Args:
        fabric: the prefix.
        log: where its witness log is.
    """

    def __init__(self, fabric: Fabric, log: SharedLog) -> None:
        self._fabric = fabric
        self._log = log

    async def source(self) -> ClusterSource:
        """See Place."""
        return ClusterSource(self._fabric, self._log, await self._fabric.revision())

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
        if not await self._fabric.was_cut_off() and not await self._log.is_empty():
            raise StoreRefused(
                f"{self._fabric.address} is empty, but NATS holds a witness log for it; restore "
                "with another --nats-subject"
            )

    async def fill(self, dump: Dump) -> Renumber:
        """See Place: the keys get new revisions in the order of the old ones."""
        renumber = await self._fabric.begin(dump.header.revision)
        await self._log.clear()
        for revision, places in steps(dump.kvs()):
            # What is named in a value was changed before the value was, or with it.
            changes = [(kv.key, moved(kv.key, kv.value, renumber)) for kv in dump.kvs_at(places)]
            renumber.add(revision, await self._fabric.put(changes))
        batch: list[Entry] = []
        for entry in dump.entries():
            batch.append(entry)
            if len(batch) == _BATCH:
                await self._log.append(batch)
                batch.clear()
        if batch:
            await self._log.append(batch)
        await self._fabric.finish(renumber)
        return renumber

    async def __aenter__(self) -> Self:
        """See Place."""
        return self

    async def __aexit__(self, *_error: object) -> None:
        """See Place."""
        await self._log.close()
        await self._fabric.close()
