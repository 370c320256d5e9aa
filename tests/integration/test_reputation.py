"""X4, X5, G1 over the wire: reputations rank at once, and survive a crash."""

import grpc
import pytest

from infrafabric import Client, errors
from infrafabric.v1.chassis_service_pb2_grpc import ChassisServiceStub
from infrafabric.v1.chassis_slo_pb2 import (
    SLO_KIND_AVAILABILITY,
    SLO_KIND_LATENCY,
    SLO_KIND_SUCCESS,
    GetSloReportRequest,
    SloReport,
)
from infrafabric.v1.task_pb2 import DISPATCH_MANUAL
from tests.harness.server import ServerProcess
from tests.integration.python_sessions import create, given, worker


async def _report(client: Client, swarm_id: str) -> SloReport:
    (found,) = [each async for each in client.standings.slo_reports(swarm_id)]
    return found


async def test_g1_x5_reputations_rank_at_once_and_survive_a_crash(
    server: ServerProcess, client: Client
) -> None:
    for swarm_id in ("s1", "s2"):
        await client.swarms.register(swarm_id, ["a"])
    assert (await client.swarms.find_qualified(["a"])).swarm_id == "s1"
    await create(client, "t1", "t2", dispatch=DISPATCH_MANUAL)
    for task_id in ("t1", "t2"):
        attempt = (await client.claims.claim("s2", task_id)).task.attempt
        await client.claims.complete("s2", task_id, attempt)
    best = await client.swarms.find_qualified(["a"], explain=True)
    assert [each.swarm_id for each in best.candidates] == ["s2", "s1"]
    assert best.candidates[0].reputation == round(7 / 12 * 1024) / 1024
    await server.kill()
    await server.start()
    async with Client(server.grpc) as again:
        assert (await again.swarms.find_qualified(["a"])).swarm_id == "s2"
        found = (await again.standings.reputation("s2")).reputation
        assert found.value == pytest.approx(7 / 12, abs=1e-4)
        assert found.good_attempts == pytest.approx(2, abs=1e-3)
        report = await _report(again, "s2")
        assert (report.completed_attempts, report.failed_attempts) == (2, 0)
        everyone = [each.swarm_id async for each in again.standings.slo_reports()]
        assert everyone == ["s1", "s2"]
        async with grpc.aio.insecure_channel(server.grpc) as channel:
            stub, request = ChassisServiceStub(channel), GetSloReportRequest(page_size=1)
            first = await stub.GetSloReport(request)
            request.page_token = first.next_page_token
            last = await stub.GetSloReport(request)
        assert [each.swarm_id for each in (*first.reports, *last.reports)] == ["s1", "s2"]
        assert not last.next_page_token
        with pytest.raises(errors.NotFound, match="no swarm has the id s3"):
            await again.standings.reputation("s3")


async def test_x4_a_session_has_an_availability_and_its_losses_count(
    server: ServerProcess, client: Client
) -> None:
    async with worker(server.grpc) as session:
        task = await given(client, session)
        await task.fail("no idea")
        kinds = [each.kind for each in (await _report(client, "w1")).objectives]
        assert kinds == [SLO_KIND_SUCCESS, SLO_KIND_LATENCY, SLO_KIND_AVAILABILITY]
        report = await _report(client, "w1")
        assert (report.completed_attempts, report.failed_attempts) == (0, 1)
        success, _, available = report.objectives
        assert success.error_budget_left == pytest.approx(-19)
        assert available.attained == 1
        assert (await client.standings.reputation("w1")).reputation.value < 0.5
