"""Where a fabric can be: what reads all of it, and what takes all of it."""

from collections.abc import AsyncGenerator
from typing import Protocol, Self

from infrafabric_server.store.protocol import KeyValue
from infrafabric_server.transfer.dumpreader import Dump
from infrafabric_server.transfer.revisions import Renumber
from infrafabric_server.witness.models import Entry


class Source(Protocol):
    """A fabric at one revision, which all that is read from it has in common.

    Reading raises StoreError.
    """

    @property
    def kind(self) -> str:
        """What keeps it, `sqlite` or `etcd`."""
        ...

    @property
    def revision(self) -> int:
        """The revision at which it is read."""
        ...

    def kvs(self) -> AsyncGenerator[KeyValue, None]:
        """Yield all keys in order."""
        ...

    def entries(self) -> AsyncGenerator[Entry, None]:
        """Yield the witness log, maybe with what was decided after `revision`."""
        ...


class Place(Protocol):
    """Where a fabric is or will be; a context manager that releases what it holds.

    Every method raises StoreError.
    """

    async def source(self) -> Source:
        """Return the fabric as it is now. Raises StoreRefused when there is none."""
        ...

    async def check_unused(self) -> None:
        """Raise StoreRefused when a server runs on it; no server can begin where that is known."""
        ...

    async def check_empty(self) -> None:
        """Raise StoreRefused unless nothing is there, but perhaps the part of a cut restore."""
        ...

    async def fill(self, dump: Dump) -> Renumber:
        """Restore `dump`; return which revisions of it became which.

        No server uses the place before all of it is there, and repeating it mends what a
        restore that was cut off has left.
        """
        ...

    async def __aenter__(self) -> Self:
        """Take the place."""
        ...

    async def __aexit__(self, *error: object) -> None:
        """Let go of it."""
        ...
