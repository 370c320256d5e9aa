import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence

import pytest

from infrafabric_server.errors import FabricError, Reason
from infrafabric_server.store.folding import Decision, Folder
from infrafabric_server.store.memory import MemoryData
from infrafabric_server.store.mirror import Mirror
from infrafabric_server.store.protocol import (
    Compare,
    Delete,
    FoldResult,
    LeaseNotFound,
    Member,
    Put,
    StoreClosed,
    StoreUnavailable,
    TxnResult,
)
from tests.unit.store.reserving import Account, Fault, Full, Line, release, reserve


class Desk:
    """One replica that folds accounts, and the pauses that it made."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self.mirror = Mirror(line)
        self.pauses: asyncio.Queue[float] = asyncio.Queue()
        view = self.mirror.view("account/", Account)
        self.folder = Folder(line, self.mirror, view, Account(), self._sleep)

    async def _sleep(self, seconds: float) -> None:
        self.pauses.put_nowait(seconds)
        await asyncio.sleep(0)

    async def account(self) -> Account:
        kv = await self.line.get("account/hot")
        return Account() if kv is None else Account.model_validate_json(kv.value)


@pytest.fixture
def data() -> MemoryData:
    return MemoryData()


@pytest.fixture
async def desk(data: MemoryData) -> AsyncIterator[Desk]:
    desk = await _desk(data)
    yield desk
    await desk.folder.close()
    await desk.line.close()


async def _desk(data: MemoryData) -> Desk:
    desk = Desk((await Line.open(data)).prepare())
    await desk.mirror.start()
    return desk


async def _ask(desk: Desk, name: str, *, limit: int = 3, task: str = "") -> TxnResult:
    return await desk.folder.decide("hot", reserve(name, 1, task or f"task/{name}", limit))


async def test_decisions_that_come_together_are_written_together(desk: Desk) -> None:
    asks = (_ask(desk, f"r{n}", limit=100) for n in range(100))
    results = await asyncio.gather(*asks)
    assert all(result.succeeded for result in results)
    assert len({result.revision for result in results}) == desk.line.folds == 2
    assert (await desk.account()).total == 100


async def test_no_more_are_let_in_than_there_is_room_for(desk: Desk) -> None:
    results = await asyncio.gather(
        *(_ask(desk, f"r{n}") for n in range(10)), return_exceptions=True
    )
    assert [type(result) for result in results] == [TxnResult] * 3 + [Full] * 7


async def test_accounts_are_folded_apart(desk: Desk) -> None:
    calls = [desk.folder.decide(f"own{n}", reserve(f"r{n}", 1, f"task/{n}", 1)) for n in range(5)]
    assert all(result.succeeded for result in await asyncio.gather(*calls))
    assert desk.line.folds == 5


async def test_what_a_failed_member_reserved_is_given_back_when_nobody_waits(desk: Desk) -> None:
    await desk.line.txn([], [Put("task/taken", "")])
    assert not (await _ask(desk, "a", task="task/taken")).succeeded
    await desk.folder.close()
    assert (await desk.account()).total == 0


async def test_who_is_refused_for_the_sake_of_one_that_fails_is_let_in(desk: Desk) -> None:
    await desk.line.txn([], [Put("task/taken", "")])
    failing, second = _ask(desk, "a", limit=1, task="task/taken"), _ask(desk, "b", limit=1)
    results = await asyncio.gather(failing, second)
    assert [result.succeeded for result in results] == [False, True]


async def test_what_is_given_back_is_free_for_the_next(desk: Desk) -> None:
    await _ask(desk, "a", limit=1)
    given = desk.folder.decide("hot", release("a", "task/a"))
    results = await asyncio.gather(given, _ask(desk, "b", limit=1))
    assert all(result.succeeded for result in results)
    assert (await desk.account()).holds == {"b": 1}


async def test_nobody_is_refused_on_an_old_state(desk: Desk, data: MemoryData) -> None:
    """What the views show is older than what another replica did."""
    other, late = await _desk(data), await _desk(data)
    await _ask(desk, "a", limit=1)
    await other.folder.decide("hot", release("a", "task/a"))
    await other.folder.close()
    assert (await _ask(desk, "b", limit=1)).succeeded
    with pytest.raises(Full):
        await _ask(late, "c", limit=1)
    for each in (other, late):
        await each.folder.close()
        await each.line.close()


async def test_two_that_touch_one_key_go_one_after_the_other(desk: Desk) -> None:
    same = [_ask(desk, f"r{n}", limit=9, task="task/one") for n in range(3)]
    results = await asyncio.gather(*same)
    assert [result.succeeded for result in results] == [True, False, False]
    await desk.folder.close()
    assert (await desk.account()).holds == {"r0": 1}


async def test_a_dead_lease_fails_its_own_caller_alone(desk: Desk) -> None:
    def leased(account: Account) -> Decision[Account]:
        return Decision(account, Member([], [Put("leased", "", lease=99)]))

    results = await asyncio.gather(
        _ask(desk, "a"), desk.folder.decide("hot", leased), _ask(desk, "b"), return_exceptions=True
    )
    assert [type(result) for result in results] == [TxnResult, LeaseNotFound, TxnResult]
    assert (await desk.account()).holds == {"a": 1, "b": 1}


async def test_a_caller_that_leaves_the_queue_asked_for_nothing(desk: Desk) -> None:
    first, queued = (asyncio.ensure_future(_ask(desk, name)) for name in "ab")
    await asyncio.sleep(0)
    queued.cancel()
    assert (await first).succeeded
    assert queued.cancelled()
    assert (await desk.account()).holds == {"a": 1}


async def test_a_caller_that_leaves_after_the_sending_is_written_once(desk: Desk) -> None:
    desk.line.turns.append(3)
    sent = asyncio.ensure_future(_ask(desk, "a"))
    await desk.line.sent.wait()
    sent.cancel()
    assert (await _ask(desk, "b")).succeeded
    assert (await desk.account()).holds == {"a": 1, "b": 1}
    kv = await desk.line.get("task/a")
    assert kv is not None
    assert kv.version == 1


async def test_an_account_that_others_change_all_the_time_is_given_up(data: MemoryData) -> None:
    class Crowded(Line):
        async def fold(
            self,
            guard: Sequence[Compare],
            writes: Sequence[Put | Delete],
            members: Sequence[Member],
        ) -> FoldResult:
            await self.txn([], [Put("account/hot", "{}")])
            return await super().fold(guard, writes, members)

    line = (await Crowded.open(data)).prepare()
    desk = Desk(line)
    with pytest.raises(FabricError) as refused:
        await _ask(desk, "a")
    assert refused.value.reason is Reason.CONTENTION
    assert line.folds == 16
    await desk.folder.close()
    await line.close()


@pytest.mark.parametrize("fault", list(Fault))
async def test_an_unknown_outcome_is_told_and_never_tried_again(desk: Desk, fault: Fault) -> None:
    desk.line.faults = deque([fault])
    with pytest.raises(StoreUnavailable):
        await _ask(desk, "a")
    await desk.line.arrive()
    applied = fault is not Fault.LOST
    assert (await desk.account()).holds == ({"a": 1} if applied else {})
    # Who reads the tasks sees whether it is a surplus.
    assert (await desk.line.get("task/a") is not None) is applied
    assert desk.line.folds == 1


async def test_a_correction_that_was_not_answered_is_made_again(desk: Desk) -> None:
    await desk.line.txn([], [Put("task/taken", "")])
    desk.line.faults = deque([None, Fault.LOST, Fault.UNANSWERED])
    assert not (await _ask(desk, "a", task="task/taken")).succeeded
    assert [await desk.pauses.get(), await desk.pauses.get()] == [0.1, 0.2]
    await desk.folder.close()
    assert (await desk.account()).holds == {}
    assert desk.line.folds == 4


async def test_a_surplus_is_amended(desk: Desk) -> None:
    await _ask(desk, "a")
    await desk.line.txn([], [Delete("task/a")])
    await desk.folder.amend("hot", lambda account: account.without("a", "never"))
    assert (await desk.account()).holds == {}
    # An amendment that changes nothing writes nothing.
    before = await desk.line.revision()
    await desk.folder.amend("hot", lambda account: account)
    assert await desk.line.revision() == before


async def test_a_broken_rule_of_the_caller_leaves_nobody_waiting(desk: Desk) -> None:
    def broken(account: Account) -> Decision[Account]:
        def settle(_later: Account, _ended: TxnResult) -> Account:
            raise ZeroDivisionError

        return Decision(account, Member([], []), settle)

    results = await asyncio.gather(
        desk.folder.decide("hot", broken), _ask(desk, "b"), return_exceptions=True
    )
    assert [type(result) for result in results] == [TxnResult, StoreUnavailable]
    assert (await _ask(desk, "c")).succeeded


async def test_a_closed_folder_says_so(desk: Desk) -> None:
    accepted = asyncio.ensure_future(_ask(desk, "a"))
    await asyncio.sleep(0)
    await desk.folder.close()
    assert (await accepted).succeeded
    with pytest.raises(StoreClosed):
        await _ask(desk, "b")
