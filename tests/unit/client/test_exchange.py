"""Callers and answers that cross."""

import asyncio

import pytest

from infrafabric import errors
from infrafabric.session.exchange import Exchange
from infrafabric.v1.status_pb2 import STATUS_BUSY, STATUS_HELP
from infrafabric.v1.task_pb2 import TASK_STATE_AVAILABLE, Task
from tests.unit.client.wire import Wire, claims, says


@pytest.fixture
def wire() -> Wire:
    wire = Wire()
    wire.settle()
    return wire


def deliver(wire: Wire, exchange: Exchange) -> None:
    """Move all messages, and let the exchange know what came of it."""
    told = len(wire.events)
    wire.settle()
    for event in wire.events[told:]:
        exchange.settle(event)


async def test_claim_that_is_won_as_its_caller_is_cancelled_is_given_back(wire: Wire) -> None:
    exchange = Exchange(wire.protocol)
    wire.model.tasks["t1"] = Task(task_id="t1", state=TASK_STATE_AVAILABLE)
    claim = asyncio.create_task(exchange.decide(claims("t1")))
    await asyncio.sleep(0)
    deliver(wire, exchange)
    assert not claim.done(), "the answer is there, and the caller has not run yet"
    claim.cancel()
    with pytest.raises(asyncio.CancelledError):
        await claim
    wire.settle()
    assert wire.model.tasks["t1"].state == TASK_STATE_AVAILABLE


async def test_reports_that_cross_a_cut_let_their_callers_go(wire: Wire) -> None:
    exchange = Exchange(wire.protocol)
    first = asyncio.create_task(exchange.report(says(STATUS_BUSY), "status"))
    await asyncio.sleep(0)
    second = asyncio.create_task(exchange.report(says(STATUS_HELP), "status"))
    await asyncio.sleep(0)
    wire.cut()
    exchange.cut()
    assert await first is None
    assert await second is None
    deliver(wire, exchange)
    assert [frame.status for frame in wire.model.statuses] == [STATUS_HELP]


async def test_everyone_who_waits_learns_how_the_session_ended(wire: Wire) -> None:
    exchange = Exchange(wire.protocol)
    waiting = [asyncio.create_task(exchange.decide(claims(f"t{n}"))) for n in range(3)]
    await asyncio.sleep(0)
    exchange.end(errors.SessionFenced("a newer stream took over"))
    for task in waiting:
        with pytest.raises(errors.SessionFenced):
            await task
    with pytest.raises(errors.SessionFenced):
        await exchange.report(says(STATUS_BUSY), "status")
