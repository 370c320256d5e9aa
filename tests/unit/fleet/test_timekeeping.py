from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from infrafabric_server.fleet.leadership import Listener
from infrafabric_server.fleet.timekeeping import FabricClock, Timekeeper
from infrafabric_server.store.protocol import Compare

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Machine:
    """A clock of a machine, and whether it leads."""

    def __init__(self, wrong_by: float = 0.0, term: int | None = None) -> None:
        self.time = NOON + timedelta(seconds=wrong_by)
        self.seconds = 5000.0
        self.term = term

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return self.seconds

    def pass_time(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)
        self.seconds += seconds

    @property
    def leading(self) -> bool:
        return self.term is not None

    def fence(self) -> list[Compare]:
        return []

    def follow(self, listener: Listener) -> None:
        """Nothing is told."""


class Enough(Exception):
    """The time of a test is over."""


async def beats(
    machine: Machine, clock: FabricClock, hear: Callable[[bytes], None], n: int
) -> None:
    """Let a leader say `n` times what time it is."""

    async def sleep(seconds: float) -> None:
        nonlocal n
        n -= 1
        machine.pass_time(seconds)
        if n == 0:
            raise Enough

    with pytest.raises(Enough):
        await Timekeeper(clock, machine, hear, sleep=sleep).run()


def follower(wrong_by: float) -> tuple[FabricClock, Timekeeper, Machine]:
    machine = Machine(wrong_by)
    clock = FabricClock(machine)
    return clock, Timekeeper(clock, machine, lambda _message: None), machine


@pytest.mark.parametrize("wrong_by", [-600.0, 600.0])
async def test_a_replica_goes_by_the_leaders_time(wrong_by: float) -> None:
    clock, keeper, _ = follower(wrong_by)
    assert (clock.now() - NOON).total_seconds() == pytest.approx(wrong_by)
    leader = Machine(term=1)
    await beats(leader, FabricClock(leader), keeper.hear, 1)
    assert (clock.now() - NOON).total_seconds() == pytest.approx(0)


async def test_a_clock_that_is_set_moves_the_time_of_the_fabric_slowly() -> None:
    leader = Machine(term=1)
    clock = FabricClock(leader)
    leader.time += timedelta(hours=1)
    await beats(leader, clock, lambda _message: None, 20)
    assert (clock.now() - NOON).total_seconds() == pytest.approx(20 * 1.05)
    leader.time -= timedelta(hours=1)
    await beats(leader, clock, lambda _message: None, 20)
    assert (clock.now() - leader.now()).total_seconds() == pytest.approx(0, abs=0.01)


async def test_a_new_leader_goes_on_with_the_time_of_the_fabric() -> None:
    clock, keeper, machine = follower(600.0)
    first = Machine(term=1)
    await beats(first, FabricClock(first), keeper.hear, 1)
    machine.term = 2
    await beats(machine, clock, lambda _message: None, 1)
    assert (clock.now() - NOON).total_seconds() == pytest.approx(1.05, abs=0.01)


async def test_who_leads_no_more_is_not_heard() -> None:
    clock, keeper, _ = follower(0.0)
    new = Machine(term=7)
    await beats(new, FabricClock(new), keeper.hear, 1)
    old = Machine(3600.0, term=6)
    await beats(old, FabricClock(old), keeper.hear, 1)
    assert (clock.now() - NOON).total_seconds() == pytest.approx(0)


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\xff",
        b"{}",
        b"[1]",
        b'["1", 5]',
        b"[1, 1e300]",
        b"[true, 5]",
        b"[1, NaN]",
        b"[" * 9999,
    ],
)
def test_what_is_no_time_changes_nothing(message: bytes) -> None:
    clock, keeper, _ = follower(0.0)
    keeper.hear(message)
    assert clock.now() == NOON
