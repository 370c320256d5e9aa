"""NotifyService over a real channel, and the status frames of sessions."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC

import pytest
from grpc import aio

from infrafabric.v1 import notify_service_pb2 as pb
from infrafabric.v1 import session_client_pb2, status_pb2
from infrafabric.v1.notify_service_pb2_grpc import (
    NotifyServiceStub,
    add_NotifyServiceServicer_to_server,
)
from infrafabric_server.errors import FabricError, InvalidField, Reason
from infrafabric_server.fleet.models import Status
from infrafabric_server.notify.service import NotifyService, StatusFrames
from tests.unit.notify.world import World


@asynccontextmanager
async def serving(world: World) -> AsyncIterator[NotifyServiceStub]:
    server = aio.server()
    add_NotifyServiceServicer_to_server(NotifyService(world.notify, world.watch), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield NotifyServiceStub(channel)
    await server.stop(None)


async def test_n2_a_report_carries_its_fields_and_is_answered() -> None:
    async with World() as world, serving(world) as stub:
        answer = await stub.Notify(
            pb.NotifyRequest(
                swarm_id="s",
                status=status_pb2.STATUS_IDLE,
                task_id="cleaned up",
                capabilities=["go", "rust", "go"],
                cost_spent_micros=12,
                tasks_completed=3,
            )
        )
        assert answer == pb.NotifyResponse(queue_position=1)
        (agent,) = (await stub.GetStatus(pb.GetStatusRequest())).agents
        now = world.clock.now()
        assert agent.status_time.ToDatetime(UTC) == agent.waiting_since_time.ToDatetime(UTC) == now
        agent.ClearField("status_time")
        agent.ClearField("waiting_since_time")
        assert agent == status_pb2.AgentStatus(
            swarm_id="s",
            status=status_pb2.STATUS_IDLE,
            last_task="cleaned up",
            capabilities=["go", "rust"],
            cost_spent_micros=12,
            tasks_completed=3,
            queue_position=1,
        )


async def test_n5_help_and_blocked_are_answered() -> None:
    async with World() as world, serving(world) as stub:
        await world.report("idle", Status.IDLE, capabilities={"go"})
        asked = pb.NotifyRequest(swarm_id="s", status=status_pb2.STATUS_HELP, needs=["go", "css"])
        (helper,) = (await stub.Notify(asked)).helpers
        assert helper == status_pb2.Helper(swarm_id="idle", coverage=0.5, capabilities=["go"])
        stuck = pb.NotifyRequest(swarm_id="s", status=status_pb2.STATUS_BLOCKED, message="why")
        assert (await stub.Notify(stuck)).escalated


async def test_statuses_are_paged_by_id_with_the_blockers_on_the_first_page() -> None:
    async with World() as world, serving(world) as stub:
        for swarm_id in "edcba":
            await world.report(swarm_id, Status.IDLE)
        await world.report("c", Status.BLOCKED, message="why")
        first = await stub.GetStatus(pb.GetStatusRequest(page_size=2))
        assert (first.total_agents, first.idle_agents) == (5, 4)
        assert [blocker.swarm_id for blocker in first.blockers] == ["c"]
        found = [agent.swarm_id for agent in first.agents]
        token = first.next_page_token
        while token:
            page = await stub.GetStatus(pb.GetStatusRequest(page_size=2, page_token=token))
            assert not page.blockers
            found += [agent.swarm_id for agent in page.agents]
            token = page.next_page_token
        assert found == list("abcde")


async def test_the_longest_statuses_and_blockers_fit_into_messages() -> None:
    async with World() as world, serving(world) as stub:
        names = [f"s{number:03}" + "x" * 124 for number in range(300)]
        longest = {"last_task": "🛠" * 256, "message": "🛠" * 4096}
        skills = {f"{number:0128}" for number in range(64)}
        await asyncio.gather(
            *(
                world.report(name, Status.BLOCKED, capabilities=skills, needs=skills, **longest)
                for name in names
            )
        )
        found: list[str] = []
        page = await stub.GetStatus(pb.GetStatusRequest(page_size=1000))
        assert page.blockers
        while page.next_page_token:
            found += [agent.swarm_id for agent in page.agents]
            following = pb.GetStatusRequest(page_size=1000, page_token=page.next_page_token)
            page = await stub.GetStatus(following)
        assert found + [agent.swarm_id for agent in page.agents] == names
        # What was said at once is watched at once, in history and in a snapshot.
        for cursor, kind in (("1", "changed"), ("", "snapshot")):
            listed: set[str] = set()
            async for response in stub.WatchStatus(pb.WatchStatusRequest(after_cursor=cursor)):
                events = [event for event in response.events if event.WhichOneof("event") == kind]
                listed |= {getattr(event, kind).swarm_id for event in events}
                if len(listed) == len(names):
                    break


async def test_n10_the_watch_resumes_from_a_cursor() -> None:
    async with World() as world, serving(world) as stub:
        await world.report("s", Status.IDLE)
        call = stub.WatchStatus(pb.WatchStatusRequest())
        kinds: list[str | None] = []
        cursor = ""
        async for response in call:
            kinds += [event.WhichOneof("event") for event in response.events]
            cursor = response.events[-1].cursor
            if cursor:
                break
        call.cancel()
        assert kinds == ["snapshot", "snapshot_end"]
        await world.report("s", Status.BUSY)
        await world.notify.broadcast("stop")
        await world.coordinator.registration.deregister("s")
        kinds = []
        async for response in stub.WatchStatus(pb.WatchStatusRequest(after_cursor=cursor)):
            kinds += [event.WhichOneof("event") for event in response.events]
            if kinds[-1] == "removed_swarm_id":
                break
        assert kinds == ["changed", "broadcast", "removed_swarm_id"]


async def test_a_text_is_answered_with_the_number_of_sessions() -> None:
    async with World() as world, serving(world) as stub:
        await world.connect("a")
        request = pb.BroadcastRequest(message="stop", request_id="r1")
        assert (await stub.Broadcast(request)).sessions == 1


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (pb.NotifyRequest(status=status_pb2.STATUS_IDLE), "swarm_id"),
        (pb.NotifyRequest(swarm_id="s"), "status"),
        (
            pb.NotifyRequest(swarm_id="s", status=status_pb2.STATUS_IDLE, task_id="x" * 257),
            "task_id",
        ),
        (
            pb.NotifyRequest(swarm_id="s", status=status_pb2.STATUS_IDLE, message="x" * 4097),
            "message",
        ),
        (
            pb.NotifyRequest(swarm_id="s", status=status_pb2.STATUS_IDLE, capabilities=["a b"]),
            "capabilities",
        ),
        (
            pb.NotifyRequest(
                swarm_id="s", status=status_pb2.STATUS_IDLE, needs=["a"] + ["b"] * 3 + ["-"]
            ),
            "needs",
        ),
        (
            pb.NotifyRequest(swarm_id="s", status=status_pb2.STATUS_IDLE, cost_spent_micros=-1),
            "cost_spent_micros",
        ),
        (
            pb.NotifyRequest(swarm_id="s", status=status_pb2.STATUS_IDLE, tasks_completed=-1),
            "tasks_completed",
        ),
    ],
)
async def test_bad_fields_are_named(request_: pb.NotifyRequest, field: str) -> None:
    async with World() as world:
        service = NotifyService(world.notify, world.watch)
        with pytest.raises(InvalidField) as caught:
            await service.Notify(request_, None)  # type: ignore[arg-type]  # the context is not used
        assert [each.field for each in caught.value.fields] == [field]


async def test_n4_a_sessions_frames_are_charged_and_unary_reports_are_not() -> None:
    async with World() as world:
        await world.connect("s")
        frames = StatusFrames(world.notify)
        frame = session_client_pb2.StatusFrame(
            status=status_pb2.STATUS_BUSY, task_id="t", cost_spent_micros=50
        )
        await frames("s", frame)
        await world.report("s", Status.BUSY, cost_spent_micros=70)
        await world.becomes("s", Status.BUSY, cost_spent_micros=50, last_task="t")
        with pytest.raises(FabricError) as caught:
            await frames("s", session_client_pb2.StatusFrame())
        assert caught.value.reason is Reason.INVALID_FIELD
