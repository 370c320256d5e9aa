"""Live statuses as server-sent events: a snapshot, then every change, with a cursor.

The events are `snapshot`, `snapshot_end`, `changed`, `removed`, `broadcast` and `gap`.
Their `id` is the cursor; a browser sends the last one by itself when it reconnects, other
clients send it as the header `Last-Event-ID` or as `?after=`.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from infrafabric_server.edge import validate
from infrafabric_server.errors import FabricError, Reason
from infrafabric_server.gateway.answers import agent_json, broadcast_json, dumps
from infrafabric_server.notify import watch

# Proxies and routers forget silent connections after a minute or less.
KEEPALIVE_SECONDS = 15.0
# Each costs a connection and, when slow, one batch of unsent text.
MAX_WATCHERS = 500


class Events:
    """`/events`; `close` ends all streams, `watchers` is how many there are."""

    def __init__(
        self, statuses: watch.StatusWatch, *, keepalive: float = KEEPALIVE_SECONDS
    ) -> None:
        self._statuses = statuses
        self._keepalive = keepalive
        self._closing = asyncio.Event()
        self.watchers = 0

    def routes(self) -> list[Route]:
        """Return the route."""
        return [Route("/events", self.events, methods=["GET"])]

    def close(self) -> None:
        """End every stream; the watchers come back to another server with their cursors."""
        self._closing.set()

    async def events(self, request: Request) -> Response:
        """Stream the statuses."""
        header = request.headers.get("last-event-id", "")
        after = validate.cursor("after", header or request.query_params.get("after", ""))
        if self.watchers >= MAX_WATCHERS:
            raise FabricError(
                Reason.LIMIT_REACHED, f"at most {MAX_WATCHERS} may watch at a time", retry_after=5.0
            )
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        if request.method == "HEAD":
            return Response(media_type="text/event-stream", headers=headers)
        return StreamingResponse(
            self._stream(after), media_type="text/event-stream", headers=headers
        )

    async def _stream(self, after: int | None) -> AsyncIterator[str]:
        self.watchers += 1
        closing = asyncio.create_task(self._closing.wait())
        batches = self._statuses.follow(after)
        try:
            while not closing.done():
                following = asyncio.create_task(anext(batches, None))
                try:
                    while not await _any_done(following, closing, seconds=self._keepalive):
                        yield ": keepalive\n\n"
                    batch = following.result() if following.done() else None
                finally:
                    await _end(following)
                if batch is None:
                    return
                yield encode(batch)
        finally:
            self.watchers -= 1
            await _end(closing)
            await batches.aclose()


async def _any_done(*tasks: asyncio.Task[Any], seconds: float) -> bool:
    done, _ = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    return bool(done)


async def _end(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.wait((task,))


def encode(batch: watch.Batch) -> str:
    """Return events that happened together as text.

    The last one carries the cursor: a stream that is cut between them repeats them all.
    """
    blocks = [_block(event) for event in batch.events]
    if batch.cursor is not None:
        blocks[-1] = f"id: {batch.cursor}\n{blocks[-1]}"
    return "".join(blocks)


def _block(event: watch.Event) -> str:
    match event:
        case watch.Listed(agent):
            return _named("snapshot", agent_json(agent))
        case watch.SnapshotEnd(count):
            return _named("snapshot_end", {"count": count})
        case watch.Changed(agent):
            return _named("changed", agent_json(agent))
        case watch.Removed(swarm_id):
            return _named("removed", {"session_id": swarm_id})
        case watch.Said(broadcast):
            return _named("broadcast", broadcast_json(broadcast))
        case watch.Missed(oldest):
            return _named("gap", {"oldest": str(oldest)})


def _named(name: str, data: dict[str, object]) -> str:
    return f"event: {name}\ndata: {dumps(data)}\n\n"
