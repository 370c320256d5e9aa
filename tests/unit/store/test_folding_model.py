"""However folds are interleaved, lost and late: nobody gets more than there is."""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from infrafabric_server.store.folding import Folder
from infrafabric_server.store.memory import MemoryData
from infrafabric_server.store.mirror import Mirror
from infrafabric_server.store.protocol import StoreClosed, StoreUnavailable, TxnResult
from tests.unit.store.reserving import Account, Fault, Full, Line, release, reserve

pytestmark = pytest.mark.timeout(300)

T = TypeVar("T")
_LIMIT = 5
_TASKS = st.integers(0, 5)
_REPLICAS = st.integers(0, 1)
# More turns than all that is left takes when nothing is held up any more.
_ENOUGH = 3000


@dataclass
class Replica:
    line: Line
    folder: Folder[Account]


@dataclass
class Asked:
    """A reservation or a release on its way."""

    name: str
    task: str
    reserves: bool
    call: asyncio.Task[TxnResult]


class FoldingMachine(RuleBasedStateMachine):
    """Two replicas fold one account; the tasks that are taken say what is really reserved."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.data = MemoryData()
        self.replicas: list[Replica] = []
        self.gone: list[Replica] = []
        self.asked: list[Asked] = []
        self.amending: list[asyncio.Task[None]] = []
        self.amounts: dict[str, int] = {}

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(coroutine)

    @initialize()
    def open(self) -> None:
        self.replicas = [self.run(self._replica()) for _ in range(2)]

    @rule(replica=_REPLICAS, task=_TASKS, amount=st.integers(1, 3))
    def ask_for(self, replica: int, task: int, amount: int) -> None:
        name, key = f"r{len(self.amounts)}", f"task/{task}"
        self.amounts[name] = amount
        decide = reserve(name, amount, key, _LIMIT)
        call = self.loop.create_task(self.replicas[replica].folder.decide("hot", decide))
        self.asked.append(Asked(name, key, reserves=True, call=call))

    @precondition(lambda self: self.taken())
    @rule(replica=_REPLICAS, which=st.integers(0, 5), allowed=st.booleans())
    def give_back(self, replica: int, which: int, *, allowed: bool) -> None:
        taken = sorted(self.taken().items())
        key, name = taken[which % len(taken)]
        folder = self.replicas[replica].folder
        call = self.loop.create_task(folder.decide("hot", release(name, key, allowed=allowed)))
        self.asked.append(Asked(name, key, reserves=False, call=call))

    @rule(which=st.integers(0, 20))
    def cancel(self, which: int) -> None:
        going = [each.call for each in self.asked if not each.call.done()]
        if going:
            going[which % len(going)].cancel()

    @rule(turns=st.integers(1, 12))
    def go_on(self, turns: int) -> None:
        self.run(_turns(turns))

    @rule(replica=_REPLICAS, turns=st.lists(st.integers(0, 6), min_size=1, max_size=6))
    def slow_down(self, replica: int, turns: list[int]) -> None:
        self.replicas[replica].line.turns.extend(turns)

    @rule(replica=_REPLICAS, fault=st.sampled_from(Fault))
    def break_next(self, replica: int, fault: Fault) -> None:
        self.replicas[replica].line.faults.append(fault)

    @rule()
    def late_ones_arrive(self) -> None:
        for replica in (*self.replicas, *self.gone):
            self.run(replica.line.arrive())

    @rule(replica=_REPLICAS)
    def crash(self, replica: int) -> None:
        old = self.replicas[replica]
        old.line.cut = True
        self.gone.append(old)
        self.replicas[replica] = self.run(self._replica())

    @rule(replica=_REPLICAS)
    def reconcile(self, replica: int) -> None:
        surplus = set(self.account().holds) - set(self.taken().values())
        folder = self.replicas[replica].folder
        amending = folder.amend("hot", lambda account: account.without(*surplus))
        self.amending.append(self.loop.create_task(_quietly(amending)))

    @invariant()
    def nobody_has_more_than_there_is(self) -> None:
        holders, account = self.taken().values(), self.account()
        assert sum(self.amounts[name] for name in holders) <= _LIMIT
        assert set(holders) <= set(account.holds), "something is taken and not reserved"
        assert account.total <= _LIMIT

    def teardown(self) -> None:
        if self.replicas:
            self.run(self._finish())
        self.loop.close()

    async def _finish(self) -> None:
        for replica in self.replicas:
            replica.line.faults.clear()
        for replica in (*self.replicas, *self.gone):
            await replica.line.arrive()
        await _turns(_ENOUGH)
        self.nobody_has_more_than_there_is()
        await asyncio.gather(*self.amending)
        for each in self.asked:
            self._check_answer(each)
        # What unknown outcomes and crashes left is a surplus, which is found and taken away.
        folder = self.replicas[0].folder
        surplus = set(self.account().holds) - set(self.taken().values())
        await folder.amend("hot", lambda account: account.without(*surplus))
        assert set(self.account().holds) == set(self.taken().values())
        free = _LIMIT - self.account().total
        if free:
            self.amounts["last"] = free
            assert (
                await folder.decide("hot", reserve("last", free, "task/last", _LIMIT))
            ).succeeded
        with pytest.raises(Full):
            await folder.decide("hot", reserve("more", 1, "task/more", _LIMIT))
        for replica in (*self.gone, *self.replicas):
            await replica.folder.close()
            await replica.line.close()

    def _check_answer(self, asked: Asked) -> None:
        assert asked.call.done(), "somebody never got an answer"
        events = [event for change in self.data.changes.values() for event in change.events]
        if asked.reserves:
            times = sum(
                1 for e in events if e.key == asked.task and e.kv and e.kv.value == asked.name
            )
            assert times <= 1
            if asked.call.cancelled():
                return
            error = asked.call.exception()
            if isinstance(error, StoreUnavailable | StoreClosed):
                return
            assert error is None or isinstance(error, Full), error
            assert times == (error is None and asked.call.result().succeeded)
        elif not asked.call.cancelled() and asked.call.exception() is None:
            ended = asked.call.result().succeeded
            assert not (ended and asked.name in self.taken().values())

    def taken(self) -> dict[str, str]:
        entries = self.data.table.entries
        return {key: kv.value for key, kv in entries.items() if key.startswith("task/")}

    def account(self) -> Account:
        kv = self.data.table.entries.get("account/hot")
        return Account() if kv is None else Account.model_validate_json(kv.value)

    async def _replica(self) -> Replica:
        line = (await Line.open(self.data)).prepare()
        mirror = Mirror(line)
        view = mirror.view("account/", Account)
        await mirror.start()

        async def sleep(_seconds: float) -> None:
            await _turns(3)

        return Replica(line, Folder(line, mirror, view, Account(), sleep))


async def _turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def _quietly(amending: Coroutine[Any, Any, None]) -> None:
    try:
        await amending
    except (StoreUnavailable, StoreClosed):
        return


TestFolding = FoldingMachine.TestCase
TestFolding.settings = settings(
    max_examples=settings().max_examples * 3,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
