"""Generated histories: each adapter does what a few dictionaries do."""

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from infrafabric_server.store.protocol import (
    Compacted,
    Compare,
    Get,
    LeaseNotFound,
    Member,
    Op,
    Put,
    Store,
)
from tests.contract.drafts import KEYS, TXNS, FoldDraft, folds
from tests.contract.worlds import MemoryWorld, SqliteWorld, watched
from tests.unit.store.model import Lease, Model

# Some thousand histories: more than the limit for one test on a machine that is busy.
pytestmark = pytest.mark.timeout(300)

T = TypeVar("T")


class StoreMachine(RuleBasedStateMachine):
    """Does the same to a store and to the model, and compares what comes back."""

    world: MemoryWorld | SqliteWorld
    store: Store

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.model = Model()
        self.ids: list[int] = []

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(coroutine)

    @initialize()
    def open(self) -> None:
        self.store = self.run(self.world.open())

    @rule(txns=st.lists(TXNS, min_size=1, max_size=4))
    def transact(self, txns: list[tuple[list[Compare], list[Op], list[Op]]]) -> None:
        """Transactions that come together are decided in their order."""
        named = [(each, self._named(first), self._named(second)) for each, first, second in txns]
        expected = [self.model.txn(*each) for each in named]

        async def together() -> list[Any]:
            return await asyncio.gather(
                *(self.store.txn(*each) for each in named), return_exceptions=True
            )

        for result, wanted in zip(self.run(together()), expected, strict=True):
            assert result == wanted or (wanted is None and isinstance(result, LeaseNotFound))

    @rule(draft=folds())
    def fold(self, draft: FoldDraft) -> None:
        members = [
            Member(each.compares, self._named(each.success), self._named(each.failure))
            for each in draft.members
        ]
        writes = [op for op in self._named(draft.writes) if not isinstance(op, Get)]
        expected = self.model.fold(draft.guard, writes, members)
        folding = self.store.fold(draft.guard, writes, members)
        if expected is None:
            with pytest.raises(LeaseNotFound):
                self.run(folding)
        else:
            assert self.run(folding) == expected

    @rule(ttl=st.integers(5, 20))
    def grant(self, ttl: int) -> None:
        if len(self.ids) < 3:
            lease = self.run(self.store.grant(ttl))
            assert lease not in (0, *self.ids)
            self.ids.append(lease)
            self.model.leases[lease] = Lease(ttl, self.world.clock.monotonic() + ttl)

    @rule(index=st.integers(0, 2))
    def revoke(self, index: int) -> None:
        self.run(self.store.revoke(self._lease(index)))
        self.model.revoke(self._lease(index))

    @rule(index=st.integers(0, 2))
    def keep_alive(self, index: int) -> None:
        lease = self.model.leases.get(self._lease(index))
        if lease is None:
            with pytest.raises(LeaseNotFound):
                self.run(self.store.keepalive(self._lease(index)))
        else:
            self.run(self.store.keepalive(self._lease(index)))
            lease.deadline = self.world.clock.monotonic() + lease.ttl

    @rule(seconds=st.integers(1, 10))
    def pass_time(self, seconds: int) -> None:
        async def passed() -> None:
            await self.world.pass_time(seconds)
            await self.world.clock.settle(self.store)

        self.run(passed())
        self.model.expire(self.world.clock.monotonic())

    @rule(share=st.floats(0, 1))
    def compact(self, share: float) -> None:
        revision = round(share * self.model.revision)
        self.run(self.store.compact(revision))
        self.model.compacted = max(self.model.compacted, revision)

    @rule()
    def reopen(self) -> None:
        self.run(self.store.close())
        self.store = self.run(self.world.open())
        self.model.restart(self.world.clock.monotonic())

    @rule(share=st.floats(0, 1), prefix=st.sampled_from(["", "a", "a/", "b"]))
    def replay(self, share: float, prefix: str) -> None:
        """A watch from anywhere tells what happened since, or that it cannot."""
        start = 1 + round(share * self.model.revision)
        expected = []
        for batch in self.model.batches[start - 1 :]:
            events = tuple(event for event in batch.events if event.key.startswith(prefix))
            if events:
                expected.append(type(batch)(batch.revision, events))
        if start < self.model.compacted:
            with pytest.raises(Compacted) as refused:
                self.run(watched(self.store, prefix, start, self.model.revision))
            assert refused.value.oldest == self.model.compacted
        elif expected:
            last = expected[-1].revision
            assert self.run(watched(self.store, prefix, start, last)) == expected

    @rule(
        share=st.floats(0, 1),
        prefix=st.sampled_from(["", "a", "a/", "b"]),
        after=st.one_of(st.just(""), KEYS),
        limit=st.integers(1, 4),
    )
    def look_back(self, share: float, prefix: str, after: str, limit: int) -> None:
        """A pinned range shows the state of its revision, or tells that it cannot."""
        revision = round(share * self.model.revision)
        asked = self.store.range(prefix, after=after, limit=limit, revision=revision)
        if 0 < revision < self.model.compacted:
            with pytest.raises(Compacted):
                self.run(asked)
            return
        page = self.run(asked)
        state = self.model.states[revision or -1]
        keys = sorted(key for key in state if key.startswith(prefix) and key > after)
        assert list(page.kvs) == [state[key] for key in keys[:limit]]
        assert page.more is (len(keys) > limit)
        assert page.revision == (revision or self.model.revision)

    @invariant()
    def present_is_the_same(self) -> None:
        if hasattr(self, "store"):
            page = self.run(self.store.range(""))
            assert list(page.kvs) == [self.model.state[key] for key in sorted(self.model.state)]
            assert page.revision == self.run(self.store.revision()) == self.model.revision

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.run(self.store.close())
        self.loop.close()

    def _lease(self, index: int) -> int:
        return self.ids[index] if index < len(self.ids) else 10**9

    def _named(self, ops: Sequence[Op]) -> list[Op]:
        return [
            Put(op.key, op.value, self._lease(op.lease - 1))
            if isinstance(op, Put) and op.lease
            else op
            for op in ops
        ]


class MemoryMachine(StoreMachine):
    def __init__(self) -> None:
        super().__init__()
        self.world = MemoryWorld()


class SqliteMachine(StoreMachine):
    def __init__(self) -> None:
        super().__init__()
        self.path = Path(tempfile.mkdtemp(prefix="store"))
        self.world = SqliteWorld(self.path)

    def teardown(self) -> None:
        super().teardown()
        shutil.rmtree(self.path)


def _settings(factor: int) -> settings:
    return settings(
        max_examples=settings().max_examples * factor,
        stateful_step_count=20,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )


# Histories per example of the profile: the adapter with the disk is slower.
TestMemoryStore = MemoryMachine.TestCase
TestMemoryStore.settings = _settings(10)
TestSqliteStore = SqliteMachine.TestCase
TestSqliteStore.settings = _settings(3)
