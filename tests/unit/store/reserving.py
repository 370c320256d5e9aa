"""What the tests of folded accounts share: an account, its decisions, a store that fails."""

import asyncio
from collections import deque
from collections.abc import Sequence
from enum import Enum, auto

from pydantic import BaseModel, ConfigDict

from infrafabric_server.store.folding import Decide, Decision
from infrafabric_server.store.memory import MemoryStore
from infrafabric_server.store.protocol import (
    Compare,
    Delete,
    Field,
    FoldResult,
    KeyValue,
    Member,
    Put,
    StoreClosed,
    StoreUnavailable,
    TxnResult,
    absent,
    present,
)


class Full(Exception):
    """The account has no room."""


class Account(BaseModel):
    """What is reserved, by the unique name of each reservation."""

    model_config = ConfigDict(frozen=True)

    holds: dict[str, int] = {}

    @property
    def total(self) -> int:
        return sum(self.holds.values())

    def without(self, *names: str) -> "Account":
        return Account(holds={name: n for name, n in self.holds.items() if name not in names})


def reserve(name: str, amount: int, task: str, limit: int) -> Decide[Account]:
    """Reserve `amount` for a task that nobody has, of at most `limit` in all."""

    def decide(account: Account) -> Decision[Account]:
        if account.total + amount > limit:
            raise Full(f"{account.total} and {amount} are more than {limit}")

        def settle(later: Account, ended: TxnResult) -> Account:
            return later if ended.succeeded else later.without(name)

        return Decision(
            Account(holds={**account.holds, name: amount}),
            Member([absent(task)], [Put(task, name)]),
            settle,
        )

    return decide


def release(name: str, task: str, *, allowed: bool = True) -> Decide[Account]:
    """Give a task up if that is allowed, and what is reserved for it once that is sure."""

    def decide(account: Account) -> Decision[Account]:
        def settle(later: Account, ended: TxnResult) -> Account:
            return later.without(name) if ended.succeeded else later

        compares = [Compare(task, Field.VALUE, name), *([] if allowed else [present("permit")])]
        return Decision(account, Member(compares, [Delete(task)]), settle)

    return decide


class Fault(Enum):
    """What happens to a call."""

    LOST = auto()
    UNANSWERED = auto()
    LATE = auto()


class Line(MemoryStore):
    """One replica's way to a store in memory: calls take turns of the loop, and may fail.

    Its watches hear nothing of what others do: a replica that is always behind.
    """

    faults: deque[Fault | None]
    sent: asyncio.Event
    turns: deque[int]
    late: list[tuple[Sequence[Compare], Sequence[Put | Delete], Sequence[Member]]]
    cut = False
    folds = 0

    def prepare(self) -> "Line":
        self.faults, self.turns, self.late = deque(), deque(), []
        self.sent = asyncio.Event()
        return self

    async def get(self, key: str) -> KeyValue | None:
        await self._travel()
        found = await super().get(key)
        await self._travel()
        return found

    async def fold(
        self, guard: Sequence[Compare], writes: Sequence[Put | Delete], members: Sequence[Member]
    ) -> FoldResult:
        self.folds += 1
        self.sent.set()
        await self._travel()
        fault = self.faults.popleft() if self.faults else None
        if fault is Fault.LATE:
            self.late.append((guard, writes, members))
        if fault in (Fault.LOST, Fault.LATE):
            raise StoreUnavailable("nobody knows")
        result = await super().fold(guard, writes, members)
        await self._travel()
        if fault is Fault.UNANSWERED:
            raise StoreUnavailable("nobody knows")
        return result

    async def arrive(self) -> None:
        """Carry out what was late."""
        late, self.late = self.late, []
        for each in late:
            await super().fold(*each)

    async def _travel(self) -> None:
        for _ in range(self.turns.popleft() if self.turns else 0):
            await asyncio.sleep(0)
        if self.cut:
            raise StoreClosed("the replica is gone")
