"""How often the HTTP API was asked, and how long it took."""

import time

from prometheus_client import CollectorRegistry, Counter, Histogram
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Measure:
    """ASGI middleware that counts requests by route and status."""

    def __init__(self, app: ASGIApp, registry: CollectorRegistry) -> None:
        self._app = app
        self._requests = Counter(
            "infrafabric_http_requests_total",
            "HTTP requests that were answered.",
            ["route", "code"],
            registry=registry,
        )
        self._seconds = Histogram(
            "infrafabric_http_request_seconds",
            "Time from a request to the first byte of its answer.",
            ["route"],
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0),
            registry=registry,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on and note how it was answered."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begin = time.perf_counter()

        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start":
                found = scope.get("route")
                # Paths that do not exist are chosen by callers: one label for all of them.
                route = found.path if isinstance(found, Route) else "none"
                self._requests.labels(route, message["status"]).inc()
                self._seconds.labels(route).observe(time.perf_counter() - begin)
            await send(message)

        await self._app(scope, receive, noting)
