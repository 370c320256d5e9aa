import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import TypeAlias

import pytest
from grpc import StatusCode, aio
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from infrafabric.v1.coordinator_service_pb2 import OpenSessionRequest, OpenSessionResponse
from infrafabric.v1.notify_service_pb2 import (
    GetStatusRequest,
    NotifyRequest,
    WatchStatusRequest,
    WatchStatusResponse,
)
from infrafabric_server.edge.calls import Context
from infrafabric_server.edge.error_table import INTERNAL_MESSAGE
from infrafabric_server.edge.grpc_server import GrpcServer, ListenError
from infrafabric_server.errors import FabricError, FieldViolation, InvalidField, Reason
from infrafabric_server.store.protocol import StoreUnavailable
from tests.unit.edge.probe import COORDINATOR, NOTIFY, Probe, refusal, served

FENCED = FabricError(Reason.SESSION_FENCED, "a newer stream took over")
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING

Watch: TypeAlias = AsyncGenerator[WatchStatusResponse, None]


def raising(error: Exception) -> Callable[..., Awaitable[None]]:
    async def handler(*_: object) -> None:
        raise error

    return handler


async def failing(error: Exception) -> Watch:
    """Yield twice, then fail."""
    yield WatchStatusResponse()
    yield WatchStatusResponse()
    raise error


async def health(channel: aio.Channel) -> set[int]:
    """Return what health says of each service and of the whole."""
    check = channel.unary_unary(
        "/grpc.health.v1.Health/Check",
        health_pb2.HealthCheckRequest.SerializeToString,
        health_pb2.HealthCheckResponse.FromString,
    )
    names = (NOTIFY, COORDINATOR, "")
    return {(await check(health_pb2.HealthCheckRequest(service=name))).status for name in names}


async def test_an_answer_passes_and_is_counted() -> None:
    async with served(Probe()) as it:
        answer = await it.notify.Notify(NotifyRequest(message="abc"))
        assert answer.queue_position == 3
        await it.server.stop(5)  # a call is counted when its handler has ended
        assert it.calls(f"{NOTIFY}/Notify", "OK") == 1
        labels = {"method": f"{NOTIFY}/Notify"}
        count = it.registry.get_sample_value("infrafabric_grpc_call_seconds_count", labels)
        assert count == 1


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (FENCED, (StatusCode.ABORTED, "SESSION_FENCED")),
        (InvalidField(FieldViolation("x", "y")), (StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")),
        (StoreUnavailable("cut"), (StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")),
        (ZeroDivisionError("secret"), (StatusCode.INTERNAL, "")),
    ],
)
async def test_every_kind_of_call_answers_a_refusal_alike(
    error: Exception, expected: tuple[StatusCode, str]
) -> None:
    probe = Probe(unary=raising(error), watch=lambda: failing(error), session=raising(error))
    async with served(probe) as it:
        with capture_logs(), pytest.raises(aio.AioRpcError) as caught:
            await it.notify.Notify(NotifyRequest())
        assert refusal(caught.value) == expected
        stream = it.notify.WatchStatus(WatchStatusRequest())
        for _ in range(2):
            assert isinstance(await stream.read(), WatchStatusResponse)
        with capture_logs(), pytest.raises(aio.AioRpcError) as caught:
            await stream.read()
        assert refusal(caught.value) == expected
        session = it.coordinator.OpenSession()
        with capture_logs(), pytest.raises(aio.AioRpcError) as caught:
            await session.read()
        assert refusal(caught.value) == expected
        code = expected[0].name
        await it.server.stop(5)  # a call is counted when its handler has ended
        for method in (f"{NOTIFY}/Notify", f"{NOTIFY}/WatchStatus", f"{COORDINATOR}/OpenSession"):
            assert it.calls(method, code) == 1


async def test_what_nobody_expected_is_logged_and_not_told() -> None:
    async with served(Probe(unary=raising(ZeroDivisionError("secret")))) as it:
        with capture_logs() as logs, pytest.raises(aio.AioRpcError) as caught:
            await it.notify.Notify(NotifyRequest())
    assert caught.value.details() == INTERNAL_MESSAGE
    (line,) = [line for line in logs if line["log_level"] == "error"]
    assert line["event"] == "call_failed"
    assert line["method"] == f"/{NOTIFY}/Notify"
    assert repr(line["exc_info"]) == "ZeroDivisionError('secret')"


async def test_refusals_are_not_logged_as_errors() -> None:
    async with served(Probe(unary=raising(FENCED))) as it:
        with capture_logs() as logs, pytest.raises(aio.AioRpcError):
            await it.notify.Notify(NotifyRequest())
    assert [line for line in logs if line["log_level"] != "debug"] == []


async def test_a_status_that_a_handler_sends_itself_stays_as_it_is() -> None:
    async def abort(context: Context) -> None:
        await context.abort(StatusCode.DATA_LOSS, "so be it")

    async with served(Probe(unary=abort)) as it:
        with pytest.raises(aio.AioRpcError) as caught:
            await it.notify.Notify(NotifyRequest())
        assert (caught.value.code(), caught.value.details()) == (StatusCode.DATA_LOSS, "so be it")
        await it.server.stop(5)  # a call is counted when its handler has ended
        assert it.calls(f"{NOTIFY}/Notify", "DATA_LOSS") == 1


async def test_frames_pass_both_ways() -> None:
    async def echo(requests: AsyncIterator[OpenSessionRequest], context: Context) -> None:
        async for request in requests:
            cursor = request.frames[0].request_id
            await context.write(OpenSessionResponse(cursor=cursor))

    async with served(Probe(session=echo)) as it:
        session = it.coordinator.OpenSession()
        for name in ("a", "b"):
            request = OpenSessionRequest()
            request.frames.add().request_id = name
            await session.write(request)
            answer = await session.read()
            assert isinstance(answer, OpenSessionResponse)
            assert answer.cursor == name
        await session.done_writing()
        assert await session.code() is StatusCode.OK
        streams = {"method": f"{COORDINATOR}/OpenSession"}
        assert it.registry.get_sample_value("infrafabric_grpc_open_streams", streams) == 0


async def test_a_cancelled_stream_is_closed_at_once_and_is_no_error() -> None:
    closed = asyncio.Event()

    async def watch() -> Watch:
        try:
            yield WatchStatusResponse()
            await asyncio.Event().wait()
        finally:
            closed.set()

    async with served(Probe(watch=watch)) as it:
        with capture_logs() as logs:
            stream = it.notify.WatchStatus(WatchStatusRequest())
            await stream.read()
            stream.cancel()
            await closed.wait()
            await it.notify.GetStatus(GetStatusRequest())
        assert [line for line in logs if line["log_level"] != "debug"] == []
        assert it.calls(f"{NOTIFY}/WatchStatus", "CANCELLED") == 1


async def test_an_unknown_method_is_not_implemented_and_leaves_no_trace() -> None:
    async with served(Probe()) as it:
        call = it.channel.unary_unary(f"/{NOTIFY}/MadeUp", bytes, bytes)
        with pytest.raises(aio.AioRpcError) as caught:
            await call(b"")
        assert caught.value.code() is StatusCode.UNIMPLEMENTED
        samples = [sample.labels for metric in it.registry.collect() for sample in metric.samples]
        assert not any("MadeUp" in labels.get("method", "") for labels in samples)


async def test_a_message_that_is_too_large_is_refused() -> None:
    async with served(Probe()) as it:
        with pytest.raises(aio.AioRpcError) as caught:
            await it.notify.Notify(NotifyRequest(message="x" * (4 * 1024 * 1024)))
        assert caught.value.code() is StatusCode.RESOURCE_EXHAUSTED


async def test_u1_reflection_lists_every_service() -> None:
    async with served(Probe()) as it:
        call = it.channel.stream_stream(
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
            reflection_pb2.ServerReflectionRequest.SerializeToString,
            reflection_pb2.ServerReflectionResponse.FromString,
        )
        stream = call()
        await stream.write(reflection_pb2.ServerReflectionRequest(list_services=""))
        answer = await stream.read()
        assert isinstance(answer, reflection_pb2.ServerReflectionResponse)
        names = {service.name for service in answer.list_services_response.service}
        assert names == {
            NOTIFY,
            COORDINATOR,
            "grpc.health.v1.Health",
            "grpc.reflection.v1alpha.ServerReflection",
        }


async def test_c11_a_draining_server_finishes_what_it_began_and_takes_nothing_new() -> None:
    entered, go_on = asyncio.Event(), asyncio.Event()

    async def wait(_: Context) -> None:
        entered.set()
        await go_on.wait()

    async with served(Probe(unary=wait)) as it:
        assert await health(it.channel) == {SERVING}
        begun = asyncio.ensure_future(it.notify.Notify(NotifyRequest()))
        await entered.wait()
        await it.server.drain()
        assert it.server.draining
        assert await health(it.channel) == {NOT_SERVING}
        with pytest.raises(aio.AioRpcError) as caught:
            await it.notify.Notify(NotifyRequest())
        assert refusal(caught.value) == (StatusCode.UNAVAILABLE, "DRAINING")
        session = it.coordinator.OpenSession()
        with pytest.raises(aio.AioRpcError) as caught:
            await session.read()
        assert refusal(caught.value) == (StatusCode.UNAVAILABLE, "DRAINING")
        go_on.set()
        assert (await it.notify.GetStatus(GetStatusRequest())).total_agents == 7
        assert (await begun).queue_position == 0


async def test_c11_a_stop_ends_what_only_watches_and_waits_for_the_rest() -> None:
    entered, go_on = asyncio.Event(), asyncio.Event()

    async def wait(_: Context) -> None:
        entered.set()
        await go_on.wait()

    async def watch() -> Watch:
        yield WatchStatusResponse()
        await asyncio.Event().wait()

    async with served(Probe(unary=wait, watch=watch)) as it:
        stream = it.notify.WatchStatus(WatchStatusRequest())
        await stream.read()
        watch_health = it.channel.unary_stream(
            "/grpc.health.v1.Health/Watch",
            health_pb2.HealthCheckRequest.SerializeToString,
            health_pb2.HealthCheckResponse.FromString,
        )
        watched = watch_health(health_pb2.HealthCheckRequest())
        await watched.read()
        begun = asyncio.ensure_future(it.notify.Notify(NotifyRequest(message="abcd")))
        await entered.wait()
        stop = asyncio.ensure_future(it.server.stop(30))
        told = await watched.read()
        assert isinstance(told, health_pb2.HealthCheckResponse)
        assert told.status == NOT_SERVING
        assert await watched.code() is StatusCode.UNAVAILABLE
        for waits in (stream.read(), it.notify.Notify(NotifyRequest())):
            with pytest.raises(aio.AioRpcError) as caught:
                await waits
            assert refusal(caught.value) == (StatusCode.UNAVAILABLE, "DRAINING")
        assert not stop.done()
        go_on.set()
        assert (await begun).queue_position == 4
        async with asyncio.timeout(10):
            await stop


async def test_a_stop_does_not_wait_longer_than_its_grace() -> None:
    entered = asyncio.Event()

    async def never(_: Context) -> None:
        entered.set()
        await asyncio.Event().wait()

    async with served(Probe(unary=never)) as it:
        begun = asyncio.ensure_future(it.notify.Notify(NotifyRequest()))
        await entered.wait()
        async with asyncio.timeout(10):
            await it.server.stop(0.05)
        with pytest.raises(aio.AioRpcError):
            await begun


async def test_a_port_in_use_is_refused() -> None:
    async with served(Probe()) as it:
        second = GrpcServer(f"127.0.0.1:{it.port}", [], CollectorRegistry())
        with pytest.raises(ListenError, match=f"cannot listen at 127.0.0.1:{it.port}"):
            await second.start()
        await second.stop(0)
