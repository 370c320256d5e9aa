"""What operators and machines ask: is the server well, and what has it measured."""

from collections.abc import Awaitable, Callable
from http import HTTPStatus

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from infrafabric_server.store.protocol import StoreError


class Operations:
    """`/healthz` and `/metrics`."""

    def __init__(
        self,
        health: Callable[[], Awaitable[None]],
        is_draining: Callable[[], bool],
        registry: CollectorRegistry,
    ) -> None:
        self._health = health
        self._is_draining = is_draining
        self._registry = registry

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("/healthz", self.healthz, methods=["GET"]),
            Route("/metrics", self.metrics, methods=["GET"]),
        ]

    async def healthz(self, _request: Request) -> Response:
        """Tell whether the server takes work: 200, or 503 with the reason."""
        if self._is_draining():
            return _unwell("draining", "the server is about to stop")
        try:
            await self._health()
        except StoreError as error:
            return _unwell("unavailable", f"the server cannot do its work: {error}")
        return JSONResponse({"status": "ok"})

    async def metrics(self, _request: Request) -> Response:
        """Show the metrics in the text format of Prometheus."""
        return Response(
            generate_latest(self._registry), headers={"content-type": CONTENT_TYPE_LATEST}
        )


def _unwell(status: str, message: str) -> Response:
    return JSONResponse(
        {"status": status, "message": message}, status_code=HTTPStatus.SERVICE_UNAVAILABLE
    )
