"""G1, G2: FindQualifiedSwarm over a real channel."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc import aio
from prometheus_client import CollectorRegistry

from infrafabric.v1 import match_pb2
from infrafabric.v1.governor_service_pb2 import FindQualifiedSwarmRequest as Request
from infrafabric.v1.governor_service_pb2 import FindQualifiedSwarmResponse as Response
from infrafabric.v1.governor_service_pb2_grpc import (
    GovernorServiceStub,
    add_GovernorServiceServicer_to_server,
)
from infrafabric_server.edge.grpc_server import GrpcServer, Service
from infrafabric_server.governor.models import ExclusionRule
from infrafabric_server.governor.service.matching import RULES, MatchingCalls
from tests.unit.governor.test_governor import World, running


@asynccontextmanager
async def serving(world: World) -> AsyncIterator[GovernorServiceStub]:
    # The other calls are not made here, and what they need is not there.
    servicer = type("Servicer", (MatchingCalls,), {"governor": world.governor})()
    service = Service(
        "infrafabric.v1.GovernorService",
        lambda server: add_GovernorServiceServicer_to_server(servicer, server),
    )
    server = GrpcServer("127.0.0.1:0", [service], CollectorRegistry())
    port = await server.start()
    async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield GovernorServiceStub(channel)
    await server.stop(0)


async def test_g1_the_best_swarm_is_named_with_its_match_and_score() -> None:
    async with running() as world, serving(world) as stub:
        await world.register("one", "abcd", cost=2_000_000)
        await world.register("two", "abc", cost=1_000_000)
        answer = await stub.FindQualifiedSwarm(
            Request(required_capabilities=["a", "b", "c", "d", "a"])
        )
        assert answer == Response(swarm_id="two", match=0.75, score=0.75)


async def test_g1_none_qualified_is_an_answer_and_no_cost_is_not_any_cost() -> None:
    async with running() as world, serving(world) as stub:
        await world.register("one", "a", cost=1)
        request = Request(required_capabilities=["a"], max_cost_per_hour_micros=0)
        assert await stub.FindQualifiedSwarm(request) == Response()


async def test_g2_the_explanation_lists_candidates_and_pages_what_was_left_out() -> None:
    async with running() as world, serving(world) as stub:
        await world.register("fit", "abcd", cost=500_000)
        await world.register("dear", "abcd", cost=500_001)
        await world.register("unable-1", "ab")
        await world.register("unable-2", "")
        request = Request(
            required_capabilities=list("abcd"),
            max_cost_per_hour_micros=500_000,
            explain=True,
            page_size=2,
        )
        first = await stub.FindQualifiedSwarm(request)
        assert list(first.candidates) == [
            match_pb2.Candidate(
                swarm_id="fit",
                rank=1,
                match=1.0,
                score=2.0,
                cost_per_hour_micros=500_000,
                reputation=1.0,
            )
        ]
        assert [(each.swarm_id, each.rule, each.match) for each in first.excluded] == [
            ("dear", match_pb2.EXCLUSION_RULE_COST, 1.0),
            ("unable-1", match_pb2.EXCLUSION_RULE_CAPABILITY, 0.5),
        ]
        assert list(first.exclusion_counts) == [
            match_pb2.ExclusionCount(rule=match_pb2.EXCLUSION_RULE_CAPABILITY, count=2),
            match_pb2.ExclusionCount(rule=match_pb2.EXCLUSION_RULE_COST, count=1),
        ]
        request.page_token = first.next_page_token
        second = await stub.FindQualifiedSwarm(request)
        assert [each.swarm_id for each in second.excluded] == ["unable-2"]
        assert second.next_page_token == ""


async def test_g1_a_request_names_its_metric_and_what_the_task_may_cost() -> None:
    async with running() as world, serving(world) as stub:
        await world.register("one", "abcdefgh", cost=1_000_000)
        await world.limit("swarm/one", 5_000)
        request = Request(required_capabilities=["a", "b"], max_task_cost_micros=5_000)
        assert await stub.FindQualifiedSwarm(request) == Response()
        request.metric = match_pb2.MATCH_METRIC_COVERAGE
        answer = await stub.FindQualifiedSwarm(request)
        assert answer == Response(swarm_id="one", match=1.0, score=1.0)
        request.max_task_cost_micros = 5_001
        assert await stub.FindQualifiedSwarm(request) == Response()
        request.explain = True
        (left_out,) = (await stub.FindQualifiedSwarm(request)).excluded
        assert left_out.rule == match_pb2.EXCLUSION_RULE_BUDGET


@pytest.mark.parametrize(
    ("bad", "field", "reason"),
    [
        (Request(required_capabilities=["two words"]), "required_capabilities", "INVALID_FIELD"),
        (Request(max_cost_per_hour_micros=-1), "max_cost_per_hour_micros", "INVALID_FIELD"),
        (Request(max_task_cost_micros=-1), "max_task_cost_micros", "INVALID_FIELD"),
        (Request(metric=match_pb2.MatchMetric.ValueType(3)), "metric", "INVALID_FIELD"),
        (Request(page_size=1_001), "page_size", "INVALID_FIELD"),
        (Request(page_token="made-up"), "page_token", "INVALID_PAGE_TOKEN"),
    ],
)
async def test_g1_a_bad_request_is_refused_by_its_field(
    bad: Request, field: str, reason: str
) -> None:
    async with running() as world, serving(world) as stub:
        with pytest.raises(aio.AioRpcError) as caught:
            await stub.FindQualifiedSwarm(bad)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        metadata = dict(caught.value.trailing_metadata() or ())
        status = status_pb2.Status.FromString(metadata["grpc-status-details-bin"])
        info, request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        assert status.details[0].Unpack(info)
        assert status.details[1].Unpack(request)
        assert info.reason == f"ERROR_REASON_{reason}"
        assert [violation.field for violation in request.field_violations] == [field]


def test_g2_every_rule_has_a_name_in_the_contract() -> None:
    assert set(RULES) == set(ExclusionRule)
    assert sorted([0, *RULES.values()]) == sorted(match_pb2.ExclusionRule.values())
