"""The timer of leases, where no adapter shows what it does: lateness and failing writes."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from infrafabric_server.store.leases import LeaseTimer
from infrafabric_server.store.protocol import LeaseNotFound, StoreFull
from tests.contract.clock import SteppedClock


class Ends:
    """Notes which leases the timer handed in; refuses as many times as it is told."""

    def __init__(self) -> None:
        self.ended: list[int] = []
        self.refusals = 0

    async def __call__(self, leases: Sequence[int]) -> None:
        if self.refusals:
            self.refusals -= 1
            raise StoreFull("the disk is full")
        self.ended.extend(leases)


@pytest.fixture
def clock() -> SteppedClock:
    return SteppedClock()


@pytest.fixture
def ends() -> Ends:
    return Ends()


@pytest.fixture
async def timer(clock: SteppedClock, ends: Ends) -> AsyncIterator[LeaseTimer]:
    timer = LeaseTimer(clock, ends, clock.sleep)
    running = asyncio.create_task(timer.run())
    yield timer
    running.cancel()
    await asyncio.wait([running])
    assert running.cancelled()


async def test_a_stopped_process_takes_no_leases_with_it(
    timer: LeaseTimer, clock: SteppedClock, ends: Ends
) -> None:
    """Nobody could renew while the process stood still, so nobody is punished for it."""
    for lease in range(1, 101):
        timer.add(lease, 15)
    await clock.stall(60)
    assert ends.ended == []
    # A holder that lives renews within a third of its time.
    await clock.advance(5)
    timer.renew(1)
    await clock.advance(3)
    assert sorted(ends.ended) == list(range(2, 101))
    await clock.advance(7.1)
    assert len(ends.ended) == 99
    await clock.advance(5)
    assert ends.ended[-1] == 1


@pytest.mark.parametrize("before", [1, 4, 9, 14])
@pytest.mark.parametrize("stop", [6, 10, 13.9, 20])
async def test_wherever_the_stop_lies_a_renewal_after_it_is_in_time(
    timer: LeaseTimer, clock: SteppedClock, ends: Ends, before: float, stop: float
) -> None:
    timer.add(1, 15)
    for _ in range(int(before / 5)):
        await clock.advance(5)
        timer.renew(1)
    await clock.advance(before % 5)
    await clock.stall(stop)
    # What its holder has sent meanwhile is read a moment later.
    await clock.advance(0.4)
    timer.renew(1)
    await clock.advance(14)
    assert ends.ended == []


async def test_a_healthy_timer_gives_no_grace(
    timer: LeaseTimer, clock: SteppedClock, ends: Ends
) -> None:
    timer.add(1, 15)
    await clock.advance(15.05)
    assert ends.ended == [1]


async def test_ends_that_cannot_be_written_are_tried_again(
    timer: LeaseTimer, clock: SteppedClock, ends: Ends
) -> None:
    ends.refusals = 3
    timer.add(1, 1)
    await clock.advance(1.1)
    assert ends.ended == []
    # For its holder it is over: otherwise it could come back to life and then vanish.
    with pytest.raises(LeaseNotFound):
        timer.renew(1)
    await clock.advance(3)
    assert ends.ended == [1]


async def test_a_lease_that_ended_in_the_store_is_forgotten(
    timer: LeaseTimer, clock: SteppedClock, ends: Ends
) -> None:
    timer.add(1, 5)
    timer.add(2, 5)
    timer.remove(1)
    timer.remove(1)
    await clock.advance(6)
    assert ends.ended == [2]


async def test_ten_thousand_leases_wake_the_timer_a_few_times(
    timer: LeaseTimer, clock: SteppedClock, ends: Ends
) -> None:
    """Embedded fleets have ten thousand sessions: a lease may cost no wake-up of its own."""
    for lease in range(1, 10_001):
        timer.add(lease, 10 + lease / 10_000)
    before = clock.sleeps
    await clock.advance(12)
    assert len(ends.ended) == 10_000
    assert clock.sleeps - before < 60
