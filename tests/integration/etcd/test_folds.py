"""Folds and hot accounts on a real etcd, over connections that are cut."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from infrafabric_server.store.folding import Folder
from infrafabric_server.store.mirror import Mirror
from infrafabric_server.store.protocol import (
    Get,
    Member,
    Put,
    Store,
    StoreUnavailable,
    TxnResult,
    present,
    unchanged,
)
from tests.contract.worlds import watched
from tests.harness.etcd import Etcd
from tests.harness.proxy import Proxy
from tests.integration.etcd.kit import Counts, opened, through
from tests.unit.store.kit import running
from tests.unit.store.reserving import Account, Full, release, reserve

_LIMIT = 8


async def _fold_up(store: Store, name: str, times: int) -> None:
    """Fold an account with two members, again and again; each must be answered as it ended."""
    revision = 0
    for number in range(1, times + 1):
        won = Member([unchanged(f"won/{name}", revision)], [Put(f"won/{name}", str(number))])
        lost = Member([present("nowhere")], [Put("never", "")], [Get(f"won/{name}x")])
        result = await store.fold(
            [unchanged(name, revision)], [Put(name, str(number))], [won, lost]
        )
        assert result.succeeded, f"step {number} of {name} was applied already, or never"
        assert [member.succeeded for member in result.members] == [True, False]
        assert {member.revision for member in result.members} == {result.revision}
        revision = result.revision


async def test_folds_whose_answers_are_cut_off_are_applied_once(etcd: Etcd) -> None:
    counts = Counts()
    async with (
        Proxy(etcd.members[0].endpoint) as proxy,
        opened(through(etcd.address(), proxy.address), observer=counts) as store,
    ):
        work = asyncio.gather(*(_fold_up(store, f"a{n}", 25) for n in range(8)))
        size = 200
        while not work.done():
            size = 200 + (size * 7) % 3_001
            proxy.cut_after = size
            await asyncio.wait([work], timeout=0.05)
        proxy.cut_after = None
        await work
        for n in range(8):
            account, won = await store.get(f"a{n}"), await store.get(f"won/a{n}")
            assert account is not None
            assert won is not None
            assert account.version == won.version == 25
            assert account.mod_revision == won.mod_revision
        assert await store.get("never") is None
    assert counts.applied > 0
    # The second member of each fold that was answered.
    assert counts.conflicts > 0


@asynccontextmanager
async def _folding(store: Store) -> AsyncIterator[tuple[Folder[Account], Mirror]]:
    mirror = Mirror(store)
    view = mirror.view("account/", Account)
    folder = Folder(store, mirror, view, Account())
    async with running(mirror):
        yield folder, mirror
        await folder.close()


async def _work(folder: Folder[Account], name: str, times: int) -> int:
    """Take and give back, `times`; return how often it was taken, as far as that is known."""
    taken = 0
    for number in range(times):
        key, task = f"{name}.{number}", f"task/{name}"
        try:
            result = await folder.decide("hot", reserve(key, 1, task, _LIMIT))
            if result.succeeded:
                taken += 1
                await _given_back(folder, key, task)
        except Full:
            continue
        except StoreUnavailable:
            await _given_back(folder, key, task)
    return taken


async def _given_back(folder: Folder[Account], key: str, task: str) -> TxnResult:
    while True:
        try:
            return await folder.decide("hot", release(key, task))
        except StoreUnavailable:
            continue


async def test_two_replicas_fold_one_account_over_bad_connections(etcd: Etcd) -> None:
    """However it goes, no more is taken at any revision than there is."""
    async with opened(etcd.address()) as first, Proxy(etcd.members[0].endpoint) as proxy:
        async with (
            opened(through(etcd.address(), proxy.address)) as second,
            _folding(first) as (one, mirror),
            _folding(second) as (two, _),
        ):
            workers = [_work(one, f"one{n}", 20) for n in range(8)]
            workers += [_work(two, f"two{n}", 20) for n in range(8)]
            work = asyncio.gather(*workers)
            size = 200
            while not work.done():
                size = 200 + (size * 7) % 3_001
                proxy.cut_after = size
                await asyncio.wait([work], timeout=0.05)
            proxy.cut_after = None
            taken = await work
            assert sum(taken) > 0
            # All is given back: what still stands is a surplus.
            left = await first.get("account/hot")
            assert left is not None
            names = Account.model_validate_json(left.value).holds
            await one.amend("hot", lambda account: account.without(*names))
            await one.close()
            await two.close()
            last = await first.get("account/hot")
            assert last is not None
            assert Account.model_validate_json(last.value).holds == {}
            await mirror.caught_up(last.mod_revision)
        held: dict[str, str] = {}
        most = 0
        for batch in await watched(first, "", 1, last.mod_revision):
            for event in batch.events:
                if event.key.startswith("task/"):
                    held.pop(event.key, None)
                    if event.kv is not None:
                        held[event.key] = event.kv.value
            most = max(most, len(held))
        assert held == {}
        assert 1 < most <= _LIMIT
