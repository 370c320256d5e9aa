"""Where a fabric's keys lie in etcd, and how its revisions are counted."""

from dataclasses import dataclass
from typing import Final

from infrafabric_server.store.etcd.wire import etcd_pb2 as pb
from infrafabric_server.store.protocol import KeyValue
from infrafabric_server.store.transactions import prefix_end


@dataclass(frozen=True, slots=True)
class Span:
    """A range of keys in etcd, without its end."""

    start: bytes
    end: bytes


class Layout:
    """Translates keys and revisions between the port and etcd.

    The keys of the port lie under `PREFIX/kv/`, the adapter's own under `PREFIX/own/`. A
    cluster counts one revision for all that is on it, so the port's revision 0 is the one at
    which the fabric began: `base`.

    Args:
        prefix: what all keys of the fabric begin with, without the slash.
        base: etcd's revision of the port's revision 0; it may be negative, when the fabric
            came from another store and goes on counting.
        settled: etcd's revision at which the origin was last changed.
    """

    def __init__(self, prefix: str, base: int = 0, settled: int = 0) -> None:
        self.prefix: Final = prefix
        self.base: Final = base
        self.settled: Final = settled
        self.origin: Final = f"{prefix}/own/origin".encode()
        self.mark: Final = f"{prefix}/own/mark".encode()
        self.probe: Final = f"{prefix}/own/probe".encode()
        self.lanes: Final = f"{prefix}/own/lanes/".encode()
        self._holders = f"{prefix}/own/leases/"
        self._root = f"{prefix}/kv/"
        self._root_bytes = self._root.encode()
        self._root_length = len(self._root_bytes)
        self.everything: Final = self._span(f"{prefix}/")

    def key(self, key: str) -> bytes:
        """Return where `key` lies in etcd."""
        return self._root_bytes + key.encode()

    def holder(self, lease: int) -> bytes:
        """Return the key that names who times a lease that changed hands."""
        return f"{self._holders}{lease}".encode()

    def text(self, key: bytes) -> str | None:
        """Return the key of the port that lies at `key`; None for one of the adapter's own."""
        if not key.startswith(self._root_bytes):
            return None
        return key[self._root_length :].decode()

    def under(self, prefix: str, after: str = "") -> Span:
        """Return the span of the keys that start with `prefix` and sort after `after`."""
        span = self._span(self._root + prefix)
        # No key has a NUL character, so this is the first one after.
        return Span(max(span.start, self.key(after) + b"\0"), span.end) if after else span

    def watched(self, prefix: str) -> Span:
        """Return the span that a watch of `prefix` looks at: for all keys, our own as well."""
        return self.under(prefix) if prefix else self.everything

    def kv(self, found: pb.KeyValue) -> KeyValue:
        """Return a key as the port sees it."""
        return KeyValue(
            key=found.key[self._root_length :].decode(),
            value=found.value.decode(),
            create_revision=found.create_revision - self.base,
            mod_revision=found.mod_revision - self.base,
            version=found.version,
            lease=found.lease,
        )

    def port(self, revision: int) -> int:
        """Return etcd's `revision` as the port counts it."""
        return revision - self.base

    def etcd(self, revision: int) -> int:
        """Return the port's `revision` as etcd counts it.

        Revisions from before the fabric came here are all 1: no key was changed there, as
        etcd begins with it.
        """
        return max(1, revision + self.base)

    @staticmethod
    def _span(prefix: str) -> Span:
        end = prefix_end(prefix)
        assert end is not None, "a prefix begins with that of the fabric"
        return Span(prefix.encode(), end.encode())
