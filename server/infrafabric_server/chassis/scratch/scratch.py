"""Keeps the scratch space of tasks in the store, for whichever attempt holds the task."""

from pydantic import BaseModel, ConfigDict
from pydantic_core import from_json, to_json

from infrafabric_server.chassis.sandbox.host import CallFailed
from infrafabric_server.chassis.scratch.requests import (
    Delete,
    Get,
    NoScratchRequest,
    Put,
    read_request,
    write_answer,
)
from infrafabric_server.coordinator.models import Task
from infrafabric_server.coordinator.rules import holder_claim
from infrafabric_server.errors import FabricError, Reason
from infrafabric_server.limits import MAX_PAYLOAD_BYTES
from infrafabric_server.store import protocol as ops
from infrafabric_server.store.mirror import Entry, Mirror, View, Write
from infrafabric_server.store.protocol import (
    KeyValue,
    Store,
    StoreClosed,
    StoreError,
    StoreRefused,
    unchanged,
)

# Without a view: an attempt reads the keys that it asks for, one at a time.
VALUES = "scratch/"

# One transaction removes them all.
MAX_KEYS = 128

# Keys and values of one task: as much as its input or its result.
MAX_TASK_BYTES = MAX_PAYLOAD_BYTES

# Of all tasks together: an eighth of what etcd takes by default. Replicas that write at the same
# time may go beyond it by a value each.
MAX_ALL_BYTES = 256 * 1024 * 1024

# Each try is lost to another change of the task, such as the extension of its claim.
_MAX_TRIES = 16


class ScratchHead(BaseModel):
    """How much a task keeps; stored under `scratch_heads/<task_id>`.

    The values are under `scratch/<task_id>/<key>`, and change only together with the head.
    """

    model_config = ConfigDict(frozen=True)

    keys: int = 0
    bytes: int = 0


class Scratch:
    """The scratch spaces of all tasks.

    Every change compares that its attempt still holds the task. So an attempt that has lost it
    changes nothing any more, however late its transaction comes.
    """

    def __init__(self, store: Store, mirror: Mirror, tasks: View[Task]) -> None:
        """Connect, before the mirror starts."""
        self._store = store
        self._mirror = mirror
        self._tasks = tasks
        self._bytes = 0
        self.heads = mirror.view("scratch_heads/", ScratchHead)
        self.heads.count(self._count)

    async def answer(self, swarm_id: str, task_id: str, attempt: int, body: bytes) -> bytes:
        """Do what the guest of an attempt asks, and return the answer.

        Raises CallFailed: it is no request, is beyond a bound, or the attempt is over.
        """
        try:
            match read_request(body):
                case Get(key=key):
                    return write_answer(await self.get(swarm_id, task_id, attempt, key))
                case Put(key=key, value=value):
                    await self.put(swarm_id, task_id, attempt, key, value)
                case Delete(key=key):
                    await self.delete(swarm_id, task_id, attempt, key)
        except NoScratchRequest as error:
            raise CallFailed(str(error)) from None
        except FabricError as error:
            raise CallFailed(f"kv: {error.message}") from None
        except StoreClosed:
            raise
        except StoreRefused as error:
            raise CallFailed(f"kv: {error}") from None
        except StoreError:
            raise CallFailed("kv: the store did not answer, or is full; try again") from None
        return b"{}"

    async def get(self, swarm_id: str, task_id: str, attempt: int, key: str) -> str | None:
        """Return the value of a key, None without one.

        Raises TASK_NOT_FOUND, STALE_ATTEMPT, TASK_ENDED, TASK_NOT_CLAIMED, NOT_OWNER, and the
        store's errors.
        """
        self._claim(swarm_id, task_id, attempt)
        found = await self._store.get(_path(task_id, key))
        if found is None:
            return None
        try:
            return str(from_json(found.value))
        except ValueError as error:
            raise StoreRefused(f"the value of {found.key} is no JSON: {error}") from None

    async def put(self, swarm_id: str, task_id: str, attempt: int, key: str, value: str) -> None:
        """Set a key to a value.

        Raises as `get`, and LIMIT_REACHED, CONTENTION.
        """
        await self._change(swarm_id, task_id, attempt, key, to_json(value).decode())

    async def delete(self, swarm_id: str, task_id: str, attempt: int, key: str) -> None:
        """Remove a key, if it is there.

        Raises as `get`, and CONTENTION.
        """
        await self._change(swarm_id, task_id, attempt, key, None)

    async def sweep(self) -> None:
        """Remove what tasks kept that have ended: for the replica that leads."""
        await self._mirror.catch_up()
        for head in list(self.heads.entries()):
            task = self._tasks.entry(head.id)
            if task is not None and not task.value.state.ended:
                continue
            # The whole of it, as nobody writes any more. What was heard of a head may be ahead of
            # what is known of its task.
            found = await self._store.range(_path(head.id, ""), limit=MAX_KEYS)
            same = [
                unchanged(head.key, head.mod_revision),
                unchanged(self._tasks.key(head.id), task.mod_revision if task else 0),
            ]
            gone = [ops.Delete(kv.key) for kv in found.kvs]
            await self._mirror.commit(same, [*gone, self.heads.delete(head.id)])

    async def _change(
        self, swarm_id: str, task_id: str, attempt: int, key: str, text: str | None
    ) -> None:
        """Set a key to a text, or remove it."""
        path = _path(task_id, key)
        for _ in range(_MAX_TRIES):
            claim, head = self._claim(swarm_id, task_id, attempt), self.heads.entry(task_id)
            known = await self._store.get(path)
            if text is None and known is None:
                return
            before = ScratchHead() if head is None else head.value
            after = _changed(before, key, known, text)
            refused = "" if text is None else self._beyond(before, after)
            # Another replica may have written what is not seen here yet.
            if refused and await self._mirror.catch_up():
                continue
            if refused:
                raise FabricError(Reason.LIMIT_REACHED, refused)
            same = [
                unchanged(claim.key, claim.mod_revision),
                unchanged(self.heads.key(task_id), 0 if head is None else head.mod_revision),
                # A head that is not there says nothing of what came and went meanwhile.
                unchanged(path, 0 if known is None else known.mod_revision),
            ]
            writes: list[Write] = [
                self.heads.put(task_id, after) if after.keys else self.heads.delete(task_id),
                ops.Delete(path) if text is None else ops.Put(path, text),
            ]
            result = await self._mirror.commit(same, writes)
            if result.succeeded:
                return
            await self._mirror.caught_up(result.revision)
        raise FabricError(
            Reason.CONTENTION, f"task {task_id} changes too fast; try again", retry_after=0.1
        )

    def _claim(self, swarm_id: str, task_id: str, attempt: int) -> Entry[Task]:
        """Return the task that an attempt holds."""
        entry = self._tasks.entry(task_id)
        if entry is None:
            raise FabricError(Reason.TASK_NOT_FOUND, f"no task has the id {task_id}")
        holder_claim(entry.value, swarm_id, attempt)
        return entry

    def _beyond(self, before: ScratchHead, after: ScratchHead) -> str:
        """Return which bound a change would break, "" for none."""
        if after.keys > MAX_KEYS:
            return f"a task keeps at most {MAX_KEYS} keys; delete one first"
        grown = after.bytes - before.bytes
        if grown > 0 and after.bytes > MAX_TASK_BYTES:
            return f"keys and values of a task have at most {MAX_TASK_BYTES} bytes together"
        if grown > 0 and self._bytes + grown > MAX_ALL_BYTES:
            return f"all tasks together keep at most {MAX_ALL_BYTES} bytes; try again later"
        return ""

    def _count(self, old: ScratchHead | None, new: ScratchHead | None) -> None:
        self._bytes += (new.bytes if new else 0) - (old.bytes if old else 0)


def _changed(head: ScratchHead, key: str, known: KeyValue | None, text: str | None) -> ScratchHead:
    """Return the head after a key was set from what is known of it to a text."""
    keys = (text is not None) - (known is not None)
    grown = _size(key, text) - _size(key, None if known is None else known.value)
    return ScratchHead(keys=head.keys + keys, bytes=head.bytes + grown)


def _size(key: str, text: str | None) -> int:
    return 0 if text is None else len(key) + len(text.encode())


def _path(task_id: str, key: str) -> str:
    return f"{VALUES}{task_id}/{key}"
