"""X7: runs wait in bounded queues, one of a swarm at a time, and nobody is passed twice by one."""

from collections import Counter, deque

import hypothesis.strategies as st
import pytest
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from infrafabric_server.chassis.queue import FairQueue, Room

ROOM = Room(running=2, waiting_per_swarm=3, waiting=7)
SWARMS = st.sampled_from(["a", "b", "c", "d"])


class Queue(RuleBasedStateMachine):
    """The queue beside a model: who runs, who waits, and how often others went first."""

    def __init__(self) -> None:
        super().__init__()
        self.queue: FairQueue[int] = FairQueue()
        self.running: set[str] = set()
        self.waiting: dict[str, deque[int]] = {}
        self.passed: dict[str, Counter[str]] = {}
        self.count = 0

    @rule(swarm_id=SWARMS)
    def arrive(self, swarm_id: str) -> None:
        """One arrives: it begins, waits, or is refused at a bound."""
        self.count += 1
        free = swarm_id not in self.running and len(self.running) < ROOM.running
        assert self.queue.free(swarm_id, ROOM) is free
        if free and not self._due():
            self.queue.begin(swarm_id)
            self._began(swarm_id)
            return
        own = self.waiting.get(swarm_id, deque())
        full = len(own) >= ROOM.waiting_per_swarm or self._total() >= ROOM.waiting
        refused = self.queue.join(swarm_id, self.count, ROOM)
        assert bool(refused) is full
        if not full:
            self.waiting.setdefault(swarm_id, deque()).append(self.count)
            self.passed.setdefault(swarm_id, Counter())

    @rule()
    def serve(self) -> None:
        """Whoever is next begins, in the order in which it came for its swarm."""
        following = self.queue.next(ROOM)
        assert (following is None) is (len(self.running) >= ROOM.running or not self._due())
        if following is None:
            return
        swarm_id, item = following
        assert swarm_id not in self.running
        assert item == self.waiting[swarm_id].popleft()
        if not self.waiting[swarm_id]:
            del self.waiting[swarm_id]
        for other, counts in self.passed.items():
            if other != swarm_id and other in self._due():
                counts[swarm_id] += 1
                assert counts[swarm_id] <= 1, f"{swarm_id} went twice before {other}"
        self._began(swarm_id)

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        """A run ends."""
        swarm_id = data.draw(st.sampled_from(sorted(self.running)))
        self.running.remove(swarm_id)
        self.queue.done(swarm_id)
        if swarm_id in self.waiting:
            self.passed[swarm_id] = Counter()

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        """One that waits is given up."""
        swarm_id = data.draw(st.sampled_from(sorted(self.waiting)))
        item = data.draw(st.sampled_from(sorted(self.waiting[swarm_id])))
        assert self.queue.leave(swarm_id, item)
        assert not self.queue.leave(swarm_id, item)
        self.waiting[swarm_id].remove(item)
        if not self.waiting[swarm_id]:
            del self.waiting[swarm_id]
            self.passed.pop(swarm_id)

    @invariant()
    def counts_are_those_of_the_model(self) -> None:
        """Nothing is lost, and nothing runs twice."""
        assert self.queue.running == len(self.running) <= ROOM.running
        assert self.queue.waiting == self._total() <= ROOM.waiting

    def _due(self) -> set[str]:
        return set(self.waiting) - self.running

    def _total(self) -> int:
        return sum(map(len, self.waiting.values()))

    def _began(self, swarm_id: str) -> None:
        self.running.add(swarm_id)
        self.passed.pop(swarm_id, None)
        if swarm_id in self.waiting:
            self.passed[swarm_id] = Counter()


TestQueue = Queue.TestCase


def test_a_swarm_runs_one_thing_at_a_time() -> None:
    queue: FairQueue[int] = FairQueue()
    queue.begin("a")
    with pytest.raises(ValueError, match="runs something already"):
        queue.begin("a")
