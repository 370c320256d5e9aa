"""What a replica knows of the outbox, whatever the mirror tells and leaves out."""

import asyncio

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from infrafabric_server.store.protocol import Event, KeyValue, StoreClosed, WatchBatch
from infrafabric_server.witness.models import Sealed
from infrafabric_server.witness.waiting import OutboxState, Waiting


def put(revision: int) -> WatchBatch:
    """Return the change that decided something at `revision`."""
    key = f"outbox/{revision:06}"
    return WatchBatch(revision, (Event(key, KeyValue(key, "{}", revision, revision, 1)),))


def gone(revision: int, *puts: int) -> WatchBatch:
    """Return the removal of what was decided at the revisions `puts`."""
    return WatchBatch(revision, tuple(Event(f"outbox/{each:06}", None) for each in puts))


def state(revision: int, *puts: int) -> OutboxState:
    """Return an outbox in which there is what was decided at the revisions `puts`."""
    kvs = [event.kv for each in puts for event in put(each).events if event.kv is not None]
    return OutboxState(kvs, None, revision)


def known(waiting: Waiting) -> list[int]:
    """Return at which revisions was decided what waits."""
    return [kv.mod_revision for kv in waiting.first(10_000)]


def test_what_comes_before_the_outbox_was_read_is_held_and_applied_once() -> None:
    waiting = Waiting()
    waiting.start_over(10)
    for batch in (put(11), put(12), gone(13, 11), put(14)):
        waiting.take(batch)
    assert known(waiting) == []
    # Read between two of them: 11 was there, and 12 was too.
    assert waiting.load(state(12, 5, 11, 12))
    assert known(waiting) == [5, 12, 14]
    waiting.take(put(15))
    assert known(waiting) == [5, 12, 14, 15]


def test_an_outbox_from_before_the_gap_does_not_close_it() -> None:
    waiting = Waiting()
    waiting.start_over(10)
    waiting.take(put(11))
    assert not waiting.load(state(9, 5))
    assert waiting.gap.is_set()
    waiting.take(put(12))
    assert waiting.load(state(10, 5))
    assert not waiting.gap.is_set()
    assert known(waiting) == [5, 11, 12]


def test_what_is_held_before_a_second_gap_is_dropped() -> None:
    waiting = Waiting()
    waiting.start_over(10)
    waiting.take(put(11))
    waiting.start_over(20)
    assert not waiting.load(state(12, 11))
    assert waiting.load(state(20))
    assert known(waiting) == []


def test_what_is_held_while_nothing_can_be_read_is_bounded() -> None:
    waiting = Waiting()
    waiting.start_over(10)
    for revision in range(11, 10_013):
        waiting.take(put(revision))
    # The first 10,001 were dropped, so what is read must have them.
    assert not waiting.load(state(10_010, 5))
    assert waiting.load(state(10_011, 5))
    assert known(waiting) == [5, 10_012]


def test_a_mirror_that_starts_over_behind_what_was_read_leaves_no_gap() -> None:
    waiting = Waiting()
    waiting.start_over(10)
    assert waiting.load(state(30, 25))
    waiting.start_over(20)
    assert not waiting.gap.is_set()
    # It tells again what is known already.
    for batch in (put(22), put(25), gone(26, 22), put(31)):
        waiting.take(batch)
    assert known(waiting) == [25, 31]


def test_the_first_of_a_gap_can_still_be_sealed_and_does_not_come_back() -> None:
    waiting = Waiting()
    waiting.take(put(1))
    waiting.start_over(10)
    assert known(waiting) == [1]
    waiting.removed(["outbox/000001"], 12)
    # Answered late: it was read before the removal.
    assert not waiting.load(state(11, 1, 11))
    assert waiting.load(state(12, 11))
    assert known(waiting) == [11]


async def test_a_mirror_that_ends_leaves_nobody_waiting() -> None:
    waiting = Waiting()
    waiting.take(put(1))
    flushing = asyncio.create_task(waiting.settled.reached(1))
    await asyncio.sleep(0)
    waiting.end(StoreClosed("the views of the store were closed"))
    with pytest.raises(StoreClosed):
        async with asyncio.timeout(5):
            await flushing


class Gaps(RuleBasedStateMachine):
    """A store, a mirror that may leave revisions out, and reads whose answers may be late."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting = Waiting()
        # The outbox at each revision, and how each came about.
        self.outboxes: list[tuple[int, ...]] = [()]
        self.batches: list[WatchBatch] = [WatchBatch(0)]
        self.decided: list[int] = []
        self.mirrored = 0
        self.answers: list[OutboxState] = []
        self.sealed: set[int] = set()
        # What the replica knows without a gap is as new as this at least.
        self.told = 0

    @property
    def newest(self) -> int:
        return len(self.outboxes) - 1

    def _change(self, batch: WatchBatch, outbox: tuple[int, ...]) -> None:
        self.batches.append(batch)
        self.outboxes.append(outbox)

    @rule()
    def decide(self) -> None:
        at = self.newest + 1
        self.decided.append(at)
        self._change(put(at), (*self.outboxes[-1], at))

    @rule()
    def change_something_else(self) -> None:
        at = self.newest + 1
        event = Event("tasks/t", KeyValue("tasks/t", "{}", at, at, 1))
        self._change(WatchBatch(at, (event,)), self.outboxes[-1])

    @precondition(lambda self: self.outboxes[-1])
    @rule(data=st.data())
    def another_one_seals(self, data: st.DataObject) -> None:
        old = self.outboxes[-1]
        count = data.draw(st.integers(1, len(old)))
        self._change(gone(self.newest + 1, *old[:count]), old[count:])

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def seal(self, data: st.DataObject) -> None:
        keys = [kv.key for kv in self.waiting.first(data.draw(st.integers(1, 5)))]
        left = {int(key.removeprefix("outbox/")) for key in keys}
        self.sealed |= left
        self.waiting.seal(keys, Sealed(sequence=len(self.sealed), hash="0" * 64))
        self._change(
            gone(self.newest + 1, *sorted(left)),
            tuple(each for each in self.outboxes[-1] if each not in left),
        )
        self.waiting.removed(keys, self.newest)

    @precondition(lambda self: self.mirrored < self.newest)
    @rule()
    def tell(self) -> None:
        self.mirrored += 1
        self.waiting.take(self.batches[self.mirrored])

    @rule(data=st.data())
    def fall_behind(self, data: st.DataObject) -> None:
        self.mirrored = data.draw(st.integers(self.mirrored, self.newest))
        self.waiting.start_over(self.mirrored)

    @rule()
    def read(self) -> None:
        self.answers.append(state(self.newest, *self.outboxes[-1]))

    @precondition(lambda self: self.answers)
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        answer = self.answers.pop(data.draw(st.integers(0, len(self.answers) - 1)))
        if self.waiting.load(answer):
            self.told = max(self.told, answer.revision)

    @invariant()
    def all_is_in_order_and_nothing_comes_back(self) -> None:
        found = known(self.waiting)
        assert found == sorted(found)
        assert not self.sealed.intersection(found)
        if not self.waiting.gap.is_set():
            self.told = max(self.told, self.mirrored)
        assert all(each in self.outboxes[self.told] or each > self.told for each in found)
        settled = self.waiting.settled.newest
        assert all(each > settled for each in set(self.outboxes[-1]) - self.sealed)

    def teardown(self) -> None:
        """Bring the news up to date: what waits must be the outbox."""
        while self.mirrored < self.newest:
            self.tell()
        if self.waiting.gap.is_set():
            assert self.waiting.load(state(self.newest, *self.outboxes[-1]))
        outbox = self.outboxes[-1]
        assert known(self.waiting) == list(outbox)
        done = [each for each in self.decided if not outbox or each < outbox[0]]
        assert self.waiting.settled.newest >= max(done, default=0)


TestGaps = Gaps.TestCase
TestGaps.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
