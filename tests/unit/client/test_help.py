"""G9: what the client says and hears of help, against a scripted fabric."""

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.protobuf import message_factory
from google.protobuf.message import Message

from infrafabric import Calls, Client, Session, SessionOptions, errors
from infrafabric.session.events import HelpWanted
from infrafabric.v1 import governor_help_pb2 as pb2
from infrafabric.v1 import governor_service_pb2
from infrafabric.v1.governor_budget_pb2 import TrackCostRequest, TrackCostResponse
from infrafabric.v1.help_pb2 import (
    HELP_STATE_ENDED,
    HELP_STATE_OPEN,
    HELP_STATE_UNSPECIFIED,
    HELP_URGENCY_CRITICAL,
    HelpRequest,
    HelpState,
)
from infrafabric.v1.session_client_pb2 import ClientFrame, CostFrame
from tests.unit.client.scripted_server import ScriptedServer, scripted_server
from tests.unit.client.wire import Wire

OFFER = HelpRequest(help_id="h1", swarm_id="s2", state=HELP_STATE_OPEN, asked_swarm_ids=["s1"])
OVER = HelpRequest(help_id="h1", swarm_id="s2", state=HELP_STATE_ENDED, helper_swarm_ids=["s1"])

SERVICE = governor_service_pb2.DESCRIPTOR.services_by_name["GovernorService"]

Context = grpc.aio.ServicerContext[Any, Any]


class Governor:
    """Writes down what it is asked, and answers with one request for each page."""

    def __init__(self) -> None:
        self.asked: list[Message] = []

    async def ask(self, request: pb2.RequestHelpRequest, _: Context) -> pb2.RequestHelpResponse:
        self.asked.append(request)
        return pb2.RequestHelpResponse(help=OFFER)

    async def accept(self, request: pb2.AcceptHelpRequest, _: Context) -> pb2.AcceptHelpResponse:
        self.asked.append(request)
        return pb2.AcceptHelpResponse(refusal_detail="2 help already", help=OFFER)

    async def page(
        self, request: pb2.ListHelpRequestsRequest, _: Context
    ) -> pb2.ListHelpRequestsResponse:
        self.asked.append(request)
        last = request.page_token == "2"
        return pb2.ListHelpRequestsResponse(help=[OFFER], next_page_token="" if last else "2")

    async def charge(self, request: TrackCostRequest, _: Context) -> TrackCostResponse:
        self.asked.append(request)
        return TrackCostResponse(reservation_left_micros=7)

    def serve(self, server: grpc.aio.Server) -> None:
        """Answer at a server, by the names and types of the contract."""
        handlers = {
            name: grpc.unary_unary_rpc_method_handler(
                answer,
                message_factory.GetMessageClass(method.input_type).FromString,
                message_factory.GetMessageClass(method.output_type).SerializeToString,
            )
            for name, answer in (
                ("RequestHelp", self.ask),
                ("AcceptHelp", self.accept),
                ("ListHelpRequests", self.page),
                ("TrackCost", self.charge),
            )
            for method in [SERVICE.methods_by_name[name]]
        }
        generic = grpc.method_handlers_generic_handler(SERVICE.full_name, handlers)
        server.add_generic_rpc_handlers((generic,))


@pytest.fixture
async def called() -> AsyncIterator[tuple[Client, Governor]]:
    """A client, and the governor that it calls."""
    governor = Governor()
    server = grpc.aio.server()
    governor.serve(server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with Client(f"127.0.0.1:{port}", calls=Calls(deadline=5)) as client:
            yield client, governor
    finally:
        await server.stop(0)


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    async with scripted_server() as it:
        yield it


async def test_g9_a_request_says_all_that_it_was_given(called: tuple[Client, Governor]) -> None:
    client, governor = called
    assert await client.help.request("s2", "t1", 3, "no key", ["vault"]) == OFFER
    await client.help.request(
        *("s2", "t1", 3, "no key", ["vault"]),
        urgency=HELP_URGENCY_CRITICAL,
        budget_micros=0,
        request_id="r1",
    )
    plain, full = governor.asked
    assert isinstance(plain, pb2.RequestHelpRequest)
    assert isinstance(full, pb2.RequestHelpRequest)
    assert plain == pb2.RequestHelpRequest(
        swarm_id="s2", task_id="t1", attempt=3, reason="no key", needs=["vault"]
    )
    # Without a budget it is all that is left; with one of nothing, nothing.
    assert (plain.HasField("budget_micros"), full.HasField("budget_micros")) == (False, True)
    assert (full.urgency, full.request_id) == (HELP_URGENCY_CRITICAL, "r1")


async def test_g9_who_comes_too_late_is_told_why(called: tuple[Client, Governor]) -> None:
    client, governor = called
    answer = await client.help.accept("s1", "h1")
    assert (answer.accepted, answer.refusal_detail) == (False, "2 help already")
    assert governor.asked == [pb2.AcceptHelpRequest(swarm_id="s1", help_id="h1")]


@pytest.mark.parametrize("state", [HELP_STATE_UNSPECIFIED, HELP_STATE_OPEN])
async def test_g9_a_list_has_all_pages(
    called: tuple[Client, Governor], state: HelpState.ValueType
) -> None:
    client, governor = called
    assert [each async for each in client.help.list(state)] == [OFFER, OFFER]
    assert governor.asked == [
        pb2.ListHelpRequestsRequest(state=state, page_size=1_000),
        pb2.ListHelpRequestsRequest(state=state, page_size=1_000, page_token="2"),
    ]


async def test_g9_a_cost_of_a_helper_names_no_task(called: tuple[Client, Governor]) -> None:
    client, governor = called
    tracked = await client.budgets.track("s1", "llm", 5, help_id="h1", request_id="r1")
    assert tracked.reservation_left_micros == 7
    assert governor.asked == [
        TrackCostRequest(
            swarm_id="s1", operation="llm", cost_micros=5, help_id="h1", request_id="r1"
        )
    ]


async def test_g9_a_session_hears_of_help_in_order(server: ScriptedServer) -> None:
    async with Session(server.target, swarm_id="s1") as session:
        await session.opened()
        server.model.want_help(OFFER)
        server.model.want_help(OVER)
        server.changed()
        news = session.help_wanted()
        assert [await anext(news), await anext(news)] == [OFFER, OVER]
    with pytest.raises(StopAsyncIteration):
        await anext(news)


async def test_g9_a_session_charges_the_help_that_it_gives(server: ScriptedServer) -> None:
    quick = SessionOptions(random=lambda: 0.1)
    async with Session(server.target, swarm_id="s1", options=quick) as session:
        reply = await session.cost("llm", 5, help_id="h1")
        assert reply.reservation_left_micros == 7
    assert [*server.model.costs.values()] == [
        CostFrame(operation="llm", cost_micros=5, help_id="h1")
    ]


def test_g9_a_cost_of_a_helper_is_charged_once_over_a_cut(wire: Wire) -> None:
    cost = CostFrame(operation="llm", cost_micros=5, help_id="h1")
    request_id = wire.ask(ClientFrame(cost=cost))
    wire.move()
    wire.move()
    wire.cut(errors.Unreachable("cut"))
    wire.settle()
    assert [frame.cost for frame in wire.model.seen if frame.HasField("cost")] == [cost, cost]
    assert wire.model.costs == {request_id: cost}
    assert wire.answers[request_id].cost.reservation_left_micros == 7


def test_g9_what_the_fabric_repeats_after_a_cut_is_told_again(wire: Wire) -> None:
    wire.model.want_help(OFFER)
    wire.settle()
    wire.cut()
    wire.settle()
    wire.model.want_help(OFFER)
    wire.settle()
    told = [event.help for event in wire.events if isinstance(event, HelpWanted)]
    assert told == [OFFER, OFFER]
