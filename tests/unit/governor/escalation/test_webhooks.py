"""Webhooks, by real HTTP servers: signed, tried again, given up, and never in anybody's way."""

import hashlib
import hmac
import json
import re
from datetime import timedelta

import pytest

from infrafabric_server.clock import SystemClock
from infrafabric_server.governor.escalation.models import Escalation, Kind
from infrafabric_server.governor.escalation.sender import Retrying
from infrafabric_server.governor.escalation.webhook import Webhook
from infrafabric_server.store.memory import MemoryData
from tests.harness.ports import free_port
from tests.harness.replicas import ChosenLeader
from tests.harness.webhook import TAKEN, Answer, Receiver, endless, raw, receiving, silence
from tests.unit.governor.escalation.world import World, world

QUICK = Retrying(tries=3, first=0.01, limit=0.3)


def hook(url: str, name: str = "pager", *, slack: bool = False) -> Webhook:
    """Return a webhook."""
    return Webhook(name, url, slack, "" if slack else "s3cret")


async def delivered(it: World) -> None:
    """Return when nothing waits to be delivered."""
    await it.until(lambda: not len(it.desk.records.deliveries))


async def dead(it: World, subject: str) -> Escalation:
    """Return an escalation once a webhook was given up."""
    await it.until(lambda: (e := it.get(subject)) is not None and bool(e.dead_letters))
    found = it.get(subject)
    assert found is not None
    return found


async def test_g7_a_webhook_is_told_what_happened_signed_and_in_order() -> None:
    async with (
        receiving(raw(TAKEN)) as receiver,
        world(clock=SystemClock(), hooks=[hook(receiver.url)]) as it,
    ):
        await it.opened("one")
        await it.desk.acknowledge("policy:one", "mary", "I look")
        await it.end("one")
        await it.until(lambda: (e := it.get("one")) is not None and e.close_time is not None)
        await delivered(it)
    assert receiver.events == [
        "escalation_opened",
        "escalation_acknowledged",
        "escalation_closed",
    ]
    headers, body = receiver.requests[0]
    stamp = re.fullmatch(r"t=(\d+),v1=([0-9a-f]{64})", headers["infrafabric-signature"])
    assert stamp is not None
    # As a receiver does it, with what the documentation says.
    expected = hmac.new(b"s3cret", f"{stamp[1]}.".encode() + body, hashlib.sha256).hexdigest()
    assert hmac.compare_digest(expected, stamp[2])
    told = json.loads(body)
    assert told["delivery_id"] == headers["infrafabric-delivery"]
    assert told["delivery_id"] == f"pager/{told['entry_id']}"
    assert told["escalation"]["state"] == "ESCALATION_STATE_OPEN"
    assert told["escalation"]["kind"] == "ESCALATION_KIND_POLICY"
    assert (told["escalation"]["level"], told["escalation"]["updates"]) == (1, 1)


async def test_g7_slack_gets_one_text_in_which_nothing_is_markup() -> None:
    async with (
        receiving(raw(TAKEN)) as receiver,
        world(clock=SystemClock(), hooks=[hook(receiver.url, slack=True)]) as it,
    ):
        await it.alarm("one", "a <!channel> & more")
        await it.until(lambda: it.get("one") is not None)
        await delivered(it)
    headers, body = receiver.requests[0]
    text = "[open, level 1] a &lt;!channel&gt; &amp; more (policy:one)"
    assert json.loads(body) == {"text": text}
    assert "infrafabric-signature" not in headers


async def taken(*answers: Answer) -> Receiver:
    """Have a webhook that answers so take one delivery, and return it."""
    async with (
        receiving(*answers) as receiver,
        world(clock=SystemClock(), hooks=[hook(receiver.url)], retrying=QUICK) as it,
    ):
        await it.opened("one")
        await delivered(it)
        found = it.get("one")
    assert found is not None
    assert found.dead_letters == ()
    return receiver


async def test_g7_what_failed_is_sent_again_with_the_same_id_and_body() -> None:
    failing = raw(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")
    receiver = await taken(failing, raw(b""), raw(TAKEN))
    assert len(receiver.requests) == 3
    assert len({body for _, body in receiver.requests}) == 1
    assert len({headers["infrafabric-delivery"] for headers, _ in receiver.requests}) == 1


async def test_g7_of_an_endless_answer_nothing_is_read_but_its_status() -> None:
    receiver = await taken(endless(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 65536))
    assert len(receiver.requests) == 1


async def test_g7_a_redirect_is_a_failure_and_is_not_followed() -> None:
    async with receiving(raw(TAKEN)) as elsewhere:
        location = f"Location: {elsewhere.url}\r\nContent-Length: 0\r\n\r\n".encode()
        async with (
            receiving(raw(b"HTTP/1.1 307 There\r\n" + location)) as receiver,
            world(clock=SystemClock(), hooks=[hook(receiver.url)], retrying=QUICK) as it,
        ):
            await it.opened("one")
            await dead(it, "one")
        assert len(receiver.requests) == QUICK.tries
        assert elsewhere.requests == []


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(silence, id="silent"),
        pytest.param(raw(b""), id="closing"),
        pytest.param(raw(b"hello\r\n\r\n"), id="no HTTP"),
        pytest.param(raw(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"), id="failing"),
        pytest.param(endless(b"HTTP/1.1 200 OK\r\n", b"A: b\r\n"), id="endless headers"),
        pytest.param(endless(b"", b"HTTP/1.1 102 Processing\r\n\r\n"), id="never coming to it"),
    ],
)
async def test_g7_a_webhook_that_fails_is_a_dead_letter_and_the_others_are_told(
    answer: Answer,
) -> None:
    async with (
        receiving(answer) as bad,
        receiving(raw(TAKEN)) as good,
        world(
            clock=SystemClock(),
            hooks=[hook(bad.url, "bad"), hook(good.url, "good")],
            retrying=QUICK,
        ) as it,
    ):
        await it.opened("one")
        found = await dead(it, "one")
        assert found.dead_letters == ("bad",)
        await delivered(it)
        assert ("escalation_undelivered", "policy:one") in await it.recorded()
    assert len(bad.requests) == QUICK.tries
    assert good.events == ["escalation_opened"]


async def test_g7_a_silent_webhook_holds_up_no_acknowledgement() -> None:
    async with (
        receiving(silence) as receiver,
        world(clock=SystemClock(), hooks=[hook(receiver.url)], retrying=Retrying(limit=60)) as it,
    ):
        for number in range(20):
            await it.opened(f"s{number}")
            await it.desk.acknowledge(f"policy:s{number}", "mary", "")
        assert len(it.desk.records.deliveries) == 40


async def test_g7_what_waited_at_a_crash_is_sent_by_the_next_leader() -> None:
    data = MemoryData()
    unreachable = f"http://127.0.0.1:{free_port()}/hook"
    slow = Retrying(first=0.01)
    async with world(data, clock=SystemClock(), hooks=[hook(unreachable)], retrying=slow) as it:
        await it.opened("one")
    async with receiving(raw(TAKEN)) as receiver:
        nobody = ChosenLeader()
        async with world(
            data, clock=SystemClock(), hooks=[hook(receiver.url)], leadership=nobody
        ) as it:
            assert len(it.desk.records.deliveries) == 1
            assert receiver.requests == []
            nobody.set(leading=True)
            await delivered(it)
    assert receiver.events == ["escalation_opened"]


async def test_g7_what_finds_no_room_is_a_dead_letter_at_once() -> None:
    async with (
        receiving(silence) as receiver,
        world(clock=SystemClock(), hooks=[hook(receiver.url)], most_waiting=1) as it,
    ):
        await it.opened("one")
        found = await it.opened("two")
        assert found.dead_letters == ("pager",)
        assert len(it.desk.records.deliveries) == 1


async def test_g7_a_flood_leaves_room_for_what_is_told_of_breakers() -> None:
    async with (
        receiving(silence) as receiver,
        world(clock=SystemClock(), hooks=[hook(receiver.url)], most_waiting=4) as it,
    ):
        flood = [await it.opened(name, Kind.HELP) for name in ("a", "b", "c", "d")]
        assert [each.dead_letters for each in flood] == [(), (), (), ("pager",)]
        assert (await it.opened("anna", Kind.BREAKER)).dead_letters == ()


def test_g7_pauses_double_up_to_a_limit_and_half_of_each_is_chance() -> None:
    retrying = Retrying()
    pauses = [retrying.pause(tries, 0.0) for tries in range(1, 10)]
    assert pauses == [timedelta(seconds=2**n) for n in range(9)]
    assert retrying.pause(1, 0.5) == timedelta(seconds=1.5)
    assert retrying.pause(10_000, 0.0) == timedelta(seconds=300)


def test_g7_neither_address_nor_secret_is_ever_shown() -> None:
    shown = repr(hook("https://hooks.example/T0/secret"))
    assert "hooks.example" not in shown
    assert "s3cret" not in shown
