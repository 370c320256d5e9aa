"""The HTTP application over a real fabric in memory, and clients of it."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette

from infrafabric_server.gateway.app import create_app
from infrafabric_server.gateway.events import Events
from infrafabric_server.gateway.server import GatewayServer
from infrafabric_server.gateway.tasks import HandDispatch
from tests.unit.notify.world import World


async def post(client: httpx.AsyncClient, path: str, **body: Any) -> httpx.Response:
    """Send a body of these fields."""
    return await client.post(path, json=body)


async def agents(client: httpx.AsyncClient) -> dict[str, Any]:
    """Return what the status of the fleet tells of each swarm."""
    answer = await client.get("/status")
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()["agents"]
    return found


class Site:
    """An application and what a test may do to it."""

    def __init__(
        self, world: World, *, keepalive: float = 15.0, dispatch: HandDispatch | None = None
    ) -> None:
        self.world = world
        self.draining = False
        self.events = Events(world.watch, keepalive=keepalive)
        self.registry = CollectorRegistry()
        self.app: Starlette = create_app(
            world.notify,
            self.events,
            dispatch or world.coordinator.placing,
            health=world.store.health,
            registry=self.registry,
            is_draining=lambda: self.draining,
            catch_up=world.mirror.catch_up,
            loopback=True,
        )

    def client(self) -> httpx.AsyncClient:
        """Return a client that calls the application without a network."""
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url="http://localhost:8765")

    @asynccontextmanager
    async def served(self) -> AsyncIterator[tuple[GatewayServer, httpx.AsyncClient]]:
        """Serve the application on a free port; yield the server and a client of it."""
        bound = socket.create_server(("127.0.0.1", 0))
        server = GatewayServer(self.app, self.events, bound)
        running = asyncio.create_task(server.run())
        try:
            async with asyncio.timeout(10):
                await server.ready()
            base = f"http://127.0.0.1:{server.port}"
            async with httpx.AsyncClient(base_url=base, timeout=10) as client:
                yield server, client
        finally:
            server.stop()
            await running
