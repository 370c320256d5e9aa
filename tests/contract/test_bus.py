"""What every bus does, on each adapter."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from infrafabric_server.bus.local import Hub, LocalBus
from infrafabric_server.bus.nats import MAX_WAITING, NatsBus
from infrafabric_server.bus.protocol import Bus
from tests.harness.bus import Heard, acquainted, opened
from tests.harness.nats import Nats


@pytest.fixture(scope="module")
def nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nats]:
    with Nats(tmp_path_factory.mktemp("nats")) as nats:
        yield nats


@pytest.fixture(params=["local", "nats"])
async def ends(request: pytest.FixtureRequest) -> AsyncIterator[list[Bus]]:
    """Three ends of one bus, connected."""
    hub = Hub()
    async with AsyncExitStack() as stack:
        found: list[Bus] = []
        for _ in range(3):
            if request.param == "local":
                found.append(LocalBus(hub))
                stack.push_async_callback(found[-1].close)
            else:
                address = request.getfixturevalue("nats").address
                found.append(await stack.enter_async_context(opened(address)))
        yield found


async def test_all_others_hear_what_is_sent_in_its_order(ends: list[Bus]) -> None:
    first, second, third = ends
    own, *others = (Heard(end, "s") for end in ends)
    await acquainted(first, *others, subject="s")
    sent = [b"%d" % n for n in range(1000)]
    for message in sent:
        first.publish("s", message)
    for each in others:
        assert await each.until(sent[-1]) == sent
    second.publish("s", b"from another one")
    assert await own.until(b"from another one") == [b"from another one"]
    assert third.counts.received >= len(sent)


async def test_a_subject_is_heard_by_those_who_asked_for_it(ends: list[Bus]) -> None:
    first, second, third = ends
    wanted, other = Heard(second, "wanted"), Heard(third, "other")
    await acquainted(first, wanted, subject="wanted")
    await acquainted(first, other, subject="other")
    first.publish("wanted", b"x")
    first.publish("other", b"y")
    assert await wanted.until(b"x") == [b"x"]
    assert await other.until(b"y") == [b"y"]


async def test_many_hear_many(nats: Nats) -> None:
    """Each replica hears each other one, in the order of each."""
    async with AsyncExitStack() as stack:
        ends = [await stack.enter_async_context(opened(nats.address)) for _ in range(9)]
        heard = [Heard(end, "many") for end in ends]
        for end, own in zip(ends, heard, strict=True):
            await acquainted(end, *(each for each in heard if each is not own), subject="many")
        for number in range(100):
            for place, end in enumerate(ends):
                end.publish("many", b"%d %d" % (place, number))
        for place, each in enumerate(heard):
            for other in range(len(ends)):
                sent = [] if other == place else [b"%d %d" % (other, n) for n in range(100)]
                for last in sent[-1:]:
                    await each.until(last)
                assert [text for text in each.messages if text.startswith(b"%d " % other)] == sent


async def test_a_long_message_is_whole(ends: list[Bus]) -> None:
    first, second, _ = ends
    heard = Heard(second, "s")
    await acquainted(first, heard, subject="s")
    message = bytes(range(256)) * 4000
    first.publish("s", message)
    assert await heard.until(message) == [message]


async def test_a_listener_that_breaks_harms_no_other(ends: list[Bus]) -> None:
    first, second, _ = ends

    def broken(message: bytes) -> None:
        raise ValueError(message)

    second.subscribe("s", broken)
    heard = Heard(second, "s")
    with capture_logs() as logs:
        await acquainted(first, heard, subject="s")
        first.publish("s", b"x")
        assert await heard.until(b"x") == [b"x"]
    assert {log["event"] for log in logs} == {"bus_listener_broke"}
    assert second.connected


async def test_after_its_end_a_bus_sends_and_hears_nothing(ends: list[Bus]) -> None:
    first, second, third = ends
    silent, heard = Heard(second, "s"), Heard(third, "s")
    await acquainted(first, silent, heard, subject="s")
    await second.close()
    await second.close()
    assert not second.connected
    second.publish("s", b"lost")
    first.publish("s", b"last")
    assert await heard.until(b"last") == [b"last"]
    assert silent.messages == []
    assert second.counts.dropped == 1


async def test_a_bus_is_there_before_its_servers(tmp_path: Path) -> None:
    nats = Nats(tmp_path)
    async with AsyncExitStack() as stack:
        ends = [await NatsBus.open(nats.address) for _ in range(2)]
        for end in ends:
            stack.push_async_callback(end.close)
        heard = Heard(ends[1], "s")
        ends[0].publish("s", b"lost")
        assert (ends[0].connected, ends[0].counts.dropped) == (False, 1)
        stack.enter_context(nats)
        await acquainted(ends[0], heard, subject="s")


async def test_ends_find_each_other_again_after_a_crash_of_the_servers(tmp_path: Path) -> None:
    with Nats(tmp_path) as nats:
        async with opened(nats.address) as first, opened(nats.address) as second:
            heard = Heard(second, "s")
            await acquainted(first, heard, subject="s")
            nats.kill()
            async with asyncio.timeout(20):
                while not first.counts.dropped:
                    first.publish("s", b"lost")
                    await asyncio.sleep(0.01)
            nats.start()
            await acquainted(first, heard, subject="s")
            assert first.counts.connections == 2


async def test_a_server_that_hangs_holds_nobody_up(tmp_path: Path) -> None:
    with Nats(tmp_path) as nats:
        async with opened(nats.address) as first, opened(nats.address) as second:
            heard = Heard(second, "s")
            await acquainted(first, heard, subject="s")
            nats.pause()
            payload = b"x" * 100_000
            async with asyncio.timeout(5):
                for _ in range(MAX_WAITING):
                    first.publish("s", payload)
                    await asyncio.sleep(0)
            assert first.counts.dropped > 0
            nats.resume()
            await acquainted(first, heard, subject="s")


async def test_what_is_longer_than_the_servers_take_is_dropped(nats: Nats) -> None:
    async with opened(nats.address) as first, opened(nats.address) as second:
        heard = Heard(second, "s")
        await acquainted(first, heard, subject="s")
        first.publish("s", b"x" * 2_000_000)
        first.publish("s", b"short")
        assert await heard.until(b"short") == [b"short"]
        assert first.counts.dropped == 1
