"""Where modules are kept: in the store, in pieces, named by what they are."""

import asyncio
import base64
import binascii
import hashlib
from contextlib import suppress
from datetime import datetime

from infrafabric_server.chassis.models import LatestUpload, ModuleKind, ModuleState, StoredModule
from infrafabric_server.clock import Clock
from infrafabric_server.coordinator.records import MAX_TRIES
from infrafabric_server.errors import FabricError, Reason
from infrafabric_server.governor.policy.book import PolicyBook
from infrafabric_server.governor.policy.naming import named
from infrafabric_server.store.mirror import Entry, Mirror
from infrafabric_server.store.protocol import Delete, Put, Store, StoreRefused, unchanged

# Without a view: whoever needs a module reads it, once.
CHUNKS = "module_chunks/"

# In base64 two thirds of a MiB, well within what etcd takes in one request (1.5 MiB).
CHUNK_BYTES = 512 * 1024
MIB = 1024 * 1024

_LATEST = "latest"

# Chunks that are read at once: about 4 MiB of text.
_PAGE = 6


class Modules:
    """The modules of all replicas.

    The head of a module says whether its bytes are there. Every write and removal of a chunk
    compares the head as its writer left it, so that who removes a module and who uploads it again
    never leave one half there under a head that says it is whole.
    """

    def __init__(self, store: Store, mirror: Mirror, clock: Clock, policies: PolicyBook) -> None:
        self._store = store
        self._mirror = mirror
        self._clock = clock
        self._policies = policies
        self.view = mirror.view("modules/", StoredModule)
        self._uploads = mirror.view("module_uploads/", LatestUpload)

    def check_size(self, size: int) -> None:
        """Raise LIMIT_REACHED for a module that is larger than the policy takes."""
        current = self._policies.current
        most = current.policy.chassis.max_module_mb
        if size > most * MIB:
            raise FabricError(
                Reason.LIMIT_REACHED,
                f"a module has at most {most} MiB, chassis.max_module_mb of {named(current.hash)};"
                " strip it (-s), or ask for more",
            )

    def stored(self, sha256: str) -> Entry[StoredModule] | None:
        """Return the head of a module whose bytes are all there, or None."""
        entry = self.view.entry(sha256)
        return entry if entry is not None and entry.value.state is ModuleState.STORED else None

    async def put(self, module: bytes, kind: ModuleKind) -> StoredModule:
        """Store a module, and return its head. One that is there unharmed is not written again.

        Raises LIMIT_REACHED when the policy has no room for it, CONTENTION.
        """
        sha256 = await digest_of(module)
        # Each try is lost to another process that uploads or removes the same module.
        for _ in range(MAX_TRIES):
            await self._mirror.catch_up()
            known = self.stored(sha256)
            if known is not None and await self._intact(sha256):
                if await self._moved(known, ModuleState.STORED) is not None:
                    return known.value
                continue
            head = StoredModule(
                sha256=sha256,
                size=len(module),
                kind=kind,
                state=ModuleState.UPLOADING,
                use_time=self._clock.now(),
            )
            self._check_room(head)
            begun = await self._begin(head)
            if begun and await self._write(sha256, module, begun):
                whole = head.model_copy(update={"state": ModuleState.STORED})
                if await self._put_head(whole, begun):
                    return whole
        raise FabricError(
            Reason.CONTENTION, f"module {sha256} changes too fast; try again", retry_after=1.0
        )

    async def read(self, sha256: str) -> bytes:
        """Return the bytes of a module. Raises MODULE_NOT_FOUND."""
        entry = self.stored(sha256)
        if entry is None:
            raise unknown(sha256)
        module = bytearray()
        after, more = f"{CHUNKS}{sha256}/", True
        while more:
            page = await self._store.range(f"{CHUNKS}{sha256}/", limit=_PAGE, after=after)
            for kv in page.kvs:
                # What is none of base64 is missing, which the digest shows.
                with suppress(binascii.Error):
                    module += base64.b64decode(kv.value)
                after = kv.key
            more = page.more
        if await digest_of(module) != sha256:
            await self._mirror.catch_up()
            if self.stored(sha256) is None:
                raise unknown(sha256)
            raise StoreRefused(f"the chunks of module {sha256} are damaged; upload it again")
        return bytes(module)

    async def remove(self, entry: Entry[StoredModule]) -> None:
        """Remove a module that is as `entry` has it; nothing happens to one that is not."""
        revision: int | None = entry.mod_revision
        if entry.value.state is not ModuleState.REMOVING:
            revision = await self._moved(entry, ModuleState.REMOVING)
        if revision is None:
            return
        sha256 = entry.value.sha256
        same = unchanged(entry.key, revision)
        for n in range(_chunks(entry.value.size)):
            result = await self._store.txn([same], [Delete(_chunk_key(sha256, n))])
            if not result.succeeded:
                return
        await self._mirror.commit([same], [self.view.delete(sha256)])

    def touched(self, entry: Entry[StoredModule], now: datetime) -> Put:
        """Return the write that notes that a module is used; it keeps it from being removed."""
        return self.view.put(entry.id, entry.value.model_copy(update={"use_time": now}))

    async def _intact(self, sha256: str) -> bool:
        try:
            await self.read(sha256)
        except (FabricError, StoreRefused):
            return False
        return True

    def _check_room(self, head: StoredModule) -> None:
        current = self._policies.current
        most = current.policy.chassis.max_modules_mb
        others = sum(each.size for id_, each in self.view.items() if id_ != head.sha256)
        if others + head.size > most * MIB:
            raise FabricError(
                Reason.LIMIT_REACHED,
                f"all modules together have at most {most} MiB, chassis.max_modules_mb of"
                f" {named(current.hash)}; unload swarms, whose modules are removed after an hour",
            )

    async def _begin(self, head: StoredModule) -> int:
        """Write the head of an upload; return its revision, 0 when it changed meanwhile.

        An upload of the same bytes that is under way is joined: whoever is first completes it.
        """
        entry = self.view.entry(head.sha256)
        if entry is not None and entry.value.state is ModuleState.UPLOADING:
            return entry.mod_revision
        seen = 0 if entry is None else entry.mod_revision
        latest = self._uploads.entry(_LATEST)
        same = [
            unchanged(self.view.key(head.sha256), seen),
            # Two that find room at the same moment may have room for one only.
            unchanged(self._uploads.key(_LATEST), 0 if latest is None else latest.mod_revision),
        ]
        noted = self._uploads.put(_LATEST, LatestUpload(sha256=head.sha256))
        result = await self._mirror.commit(same, [self.view.put(head.sha256, head), noted])
        return result.revision if result.succeeded else 0

    async def _write(self, sha256: str, module: bytes, begun: int) -> bool:
        same = unchanged(self.view.key(sha256), begun)
        for n in range(_chunks(len(module))):
            piece = module[n * CHUNK_BYTES : (n + 1) * CHUNK_BYTES]
            put = Put(_chunk_key(sha256, n), base64.b64encode(piece).decode())
            if not (await self._store.txn([same], [put])).succeeded:
                return False
        return True

    async def _put_head(self, head: StoredModule, seen: int) -> bool:
        same = unchanged(self.view.key(head.sha256), seen)
        result = await self._mirror.commit([same], [self.view.put(head.sha256, head)])
        return result.succeeded

    async def _moved(self, entry: Entry[StoredModule], state: ModuleState) -> int | None:
        """Change the state of a head that is as `entry` has it; return its revision then."""
        change: dict[str, object] = {"state": state}
        if state is ModuleState.STORED:
            change["use_time"] = self._clock.now()
        moved = entry.value.model_copy(update=change)
        result = await self._mirror.commit(
            [unchanged(entry.key, entry.mod_revision)], [self.view.put(entry.id, moved)]
        )
        return result.revision if result.succeeded else None


async def digest_of(module: bytes | bytearray) -> str:
    """Return the SHA-256 of a module; a large one takes a while, which is not for the loop."""
    return (await asyncio.to_thread(hashlib.sha256, module)).hexdigest()


def unknown(sha256: str) -> FabricError:
    """Return the refusal of a module that is not stored."""
    return FabricError(
        Reason.MODULE_NOT_FOUND, f"no module has the SHA-256 {sha256}; upload it first"
    )


def _chunks(size: int) -> int:
    return -(-size // CHUNK_BYTES)


def _chunk_key(sha256: str, n: int) -> str:
    return f"{CHUNKS}{sha256}/{n:03}"
