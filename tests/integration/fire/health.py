"""The health of a server, as a load balancer asks for it and watches it."""

from collections.abc import AsyncIterator

import grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

SERVING = HealthCheckResponse.SERVING
NOT_SERVING = HealthCheckResponse.NOT_SERVING

_METHODS = "/grpc.health.v1.Health/"


async def check(channel: grpc.aio.Channel, service: str = "") -> int:
    """Return the status of a service, or of the whole server."""
    call = channel.unary_unary(
        f"{_METHODS}Check", HealthCheckRequest.SerializeToString, HealthCheckResponse.FromString
    )
    answer: HealthCheckResponse = await call(HealthCheckRequest(service=service))
    return answer.status


async def watch(channel: grpc.aio.Channel, service: str) -> AsyncIterator[int]:
    """Yield the status of a service, and every later one. Raises AioRpcError at the end."""
    call = channel.unary_stream(
        f"{_METHODS}Watch", HealthCheckRequest.SerializeToString, HealthCheckResponse.FromString
    )
    answer: HealthCheckResponse
    async for answer in call(HealthCheckRequest(service=service)):
        yield answer.status
