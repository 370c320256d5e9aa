from datetime import timedelta

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from infrafabric_server.witness.tally import MAX_SWARMS, MAX_TASKS, WINDOW, Counted, Tally
from tests.unit.witness.support import START


def count(tally: Tally, now: float, swarm_id: str = "s", task_id: str = "t") -> None:
    tally.count(
        "claim_refused", swarm_id, task_id, "lost_race", now, START + timedelta(seconds=now)
    )


def test_c2_a_flood_is_one_entry_after_a_second() -> None:
    tally = Tally()
    for step in range(100):
        count(tally, step / 100)
    assert tally.next_time(early=False) == WINDOW
    assert tally.take(WINDOW - 0.001, early=False) == []
    (counted,) = tally.take(WINDOW, early=False)
    assert counted.details == {
        "count": 100,
        "reasons": {"lost_race": 100},
        "task_ids": ["t"],
        "more_tasks": False,
        "since": "2026-01-02T03:04:05.678901+00:00",
        "until": "2026-01-02T03:04:06.668901+00:00",
    }
    assert counted.task_id == "t"
    assert tally.next_time(early=False) is None


def test_reasons_and_tasks_are_told_apart_up_to_a_bound() -> None:
    tally = Tally()
    for task in range(MAX_TASKS + 3):
        tally.count("claim_refused", "s", f"t{task}", f"r{task % 2}", 0.0, START)
    (counted,) = tally.take(WINDOW, early=False)
    assert counted.details["reasons"] == {"r0": 10, "r1": 9}
    assert counted.details["task_ids"] == [f"t{task}" for task in range(MAX_TASKS)]
    assert counted.details["more_tasks"] is True
    assert counted.task_id == ""


def test_an_early_entry_puts_off_the_next_one() -> None:
    tally = Tally()
    count(tally, 5.0)
    assert tally.next_time(early=True) == 5.0
    assert len(tally.take(5.1, early=True)) == 1
    count(tally, 5.2)
    assert tally.next_time(early=True) == 5.1 + WINDOW
    assert tally.take(6.0, early=True) == []
    assert len(tally.take(6.1, early=True)) == 1


def test_swarms_and_operations_are_counted_apart() -> None:
    tally = Tally()
    for swarm in ("a", "b"):
        for operation in ("claim_refused", "message_fenced"):
            tally.count(operation, swarm, "t", "r", 0.0, START)
    found = {(counted.operation, counted.swarm_id) for counted in tally.take(1.0, early=False)}
    assert len(found) == 4


def test_made_up_swarms_are_counted_together() -> None:
    tally = Tally()
    for swarm in range(MAX_SWARMS + 500):
        count(tally, 0.0, swarm_id=f"s{swarm}")
    taken = tally.take(WINDOW, early=False)
    assert len(taken) == MAX_SWARMS + 1
    assert taken[-1].swarm_id == ""
    assert taken[-1].details["count"] == 500


class Floods(RuleBasedStateMachine):
    """C2: whatever happens when, nothing is lost and no swarm has two entries in a second."""

    def __init__(self) -> None:
        super().__init__()
        self.tally = Tally()
        self.now = 0.0
        self.counted = 0
        self.taken: list[tuple[float, Counted]] = []

    @rule(swarm=st.sampled_from(["a", "b", "c"]), times=st.integers(1, 5))
    def lose(self, swarm: str, times: int) -> None:
        for _ in range(times):
            count(self.tally, self.now, swarm_id=swarm)
            self.counted += 1

    @rule(milliseconds=st.integers(1, 1500))
    def wait(self, milliseconds: int) -> None:
        self.now += milliseconds / 1000

    @rule(early=st.booleans())
    def take(self, *, early: bool) -> None:
        due = self.tally.next_time(early=early)
        taken = self.tally.take(self.now, early=early)
        assert bool(taken) == (due is not None and due <= self.now)
        self.taken += [(self.now, counted) for counted in taken]

    @invariant()
    def nothing_is_lost(self) -> None:
        both = [*(counted for _, counted in self.taken), *self.tally.pending()]
        assert sum(counted.reasons.total() for counted in both) == self.counted

    @invariant()
    def entries_of_a_swarm_are_a_second_apart(self) -> None:
        last: dict[str, float] = {}
        for time, counted in self.taken:
            if counted.swarm_id in last:
                assert time - last[counted.swarm_id] == pytest.approx(WINDOW) or (
                    time - last[counted.swarm_id] > WINDOW
                )
            last[counted.swarm_id] = time


TestFloods = Floods.TestCase
