"""What agents and their supervisors say over HTTP: statuses, and texts for everyone."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from infrafabric_server.fleet.models import Status
from infrafabric_server.gateway.answers import status_json
from infrafabric_server.gateway.bodies import read_object
from infrafabric_server.gateway.refusals import draining
from infrafabric_server.gateway.requests import BroadcastBody, StatusBody
from infrafabric_server.notify.notify import IFNotify
from infrafabric_server.store.second_look import CatchUp


class Agents:
    """`/agent/<status>`, `/status` and `/broadcast`."""

    def __init__(
        self, notify: IFNotify, is_draining: Callable[[], bool], catch_up: CatchUp
    ) -> None:
        self._notify = notify
        self._is_draining = is_draining
        self._catch_up = catch_up

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            *(self._status_route(status) for status in Status),
            Route("/status", self.status, methods=["GET"]),
            Route("/broadcast", self.broadcast, methods=["POST"]),
        ]

    def _status_route(self, status: Status) -> Route:
        async def endpoint(request: Request) -> Response:
            return await self.report(request, status)

        return Route(f"/agent/{status.value}", endpoint, methods=["POST"])

    async def report(self, request: Request, status: Status) -> Response:
        """Take a status report."""
        body = StatusBody.model_validate(await read_object(request, Decimal))
        report = body.report(status)
        if self._is_draining():
            raise draining()
        answer = await self._notify.notify(report)
        told: dict[str, Any] = {"status": "received"}
        match status:
            case Status.IDLE | Status.COMPLETED:
                told["queue_position"] = answer.queue_position
            case Status.BLOCKED:
                told["escalated"] = answer.escalated
            case Status.HELP:
                told["helpers_found"] = len(answer.helpers)
                told["helpers"] = [helper.swarm_id for helper in answer.helpers]
            case Status.BUSY:
                pass
        return JSONResponse(told)

    async def status(self, _request: Request) -> Response:
        """Show the whole fleet."""
        await self._catch_up()
        total, _ = self._notify.count()
        content = status_json(self._notify.agents(), total, self._notify.idle_queue())
        return StreamingResponse(content, media_type="application/json")

    async def broadcast(self, request: Request) -> Response:
        """Send a text to everyone."""
        body = BroadcastBody.model_validate(await read_object(request))
        if self._is_draining():
            raise draining()
        await self._catch_up()
        sessions = await self._notify.broadcast(body.message, body.request_id or "")
        return JSONResponse({"status": "received", "recipients": sessions})
