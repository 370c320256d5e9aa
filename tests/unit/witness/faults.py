"""A store and a log that fail when they are told to, before or after they did what was asked."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

from infrafabric_server.clock import Clock
from infrafabric_server.store.memory import MemoryData, MemoryStore
from infrafabric_server.store.protocol import (
    Compare,
    KeyValue,
    Op,
    StoreError,
    TxnResult,
    WatchBatch,
)
from infrafabric_server.witness.memory_log import MemoryWitnessLog
from infrafabric_server.witness.models import Entry


class Faults:
    """What the next calls meet, one after another; None lets a call pass."""

    def __init__(self) -> None:
        self.before: list[StoreError | None] = []
        self.after: list[StoreError | None] = []
        self.always: StoreError | None = None

    def strike(self, coming: list[StoreError | None]) -> None:
        """Raise what the next call meets at this point."""
        error = self.always or (coming.pop(0) if coming else None)
        if error is not None:
            raise error


class FaultyLog(MemoryWitnessLog):
    """A log whose appends fail on demand."""

    def __init__(self) -> None:
        super().__init__()
        self.faults = Faults()

    async def append(self, waiting: Sequence[KeyValue]) -> list[Entry]:
        self.faults.strike(self.faults.before)
        entries = await super().append(waiting)
        self.faults.strike(self.faults.after)
        return entries


class FaultyStore(MemoryStore):
    """A store whose transactions and watches fail on demand."""

    def __init__(
        self,
        data: MemoryData,
        clock: Clock,
        history: float,
        sleep: Callable[[float], Awaitable[object]],
    ) -> None:
        super().__init__(data, clock, history, sleep)
        self.txns = Faults()
        self.watches = Faults()

    @classmethod
    async def make(cls) -> "FaultyStore":
        """Return an empty store without faults."""
        store = await cls.open()
        assert isinstance(store, cls)
        return store

    async def txn(
        self, compares: Sequence[Compare], success: Sequence[Op], failure: Sequence[Op] = ()
    ) -> TxnResult:
        self.txns.strike(self.txns.before)
        result = await super().txn(compares, success, failure)
        self.txns.strike(self.txns.after)
        return result

    async def watch(self, prefix: str, start_revision: int) -> AsyncGenerator[WatchBatch, None]:
        self.watches.strike(self.watches.before)
        async for batch in super().watch(prefix, start_revision):
            yield batch
            self.watches.strike(self.watches.after)
