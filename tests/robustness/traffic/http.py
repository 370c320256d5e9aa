"""Clients of the HTTP port: statuses, hand-overs, texts, and a stream of events."""

import json
from collections.abc import AsyncGenerator
from typing import Any

import grpc
import httpx

from infrafabric import errors
from infrafabric.errors import FabricError, Refused, StoreUnavailable, Unreachable
from tests.robustness.setups.setup import pick
from tests.robustness.traffic.actor import DEADLINE, Stepper, World
from tests.robustness.traffic.watchers import Watcher

_STATUSES = ("idle", "busy", "blocked", "help")
_PASSING = {
    "STORE_UNAVAILABLE": StoreUnavailable,
    "DRAINING": errors.Draining,
    "OUTBOX_FULL": errors.OutboxFull,
    "CONTENTION": errors.Contention,
}


class HttpCaller(Stepper):
    """Reports statuses, hands tasks to a swarm and sends texts, as old clients do."""

    async def step(self) -> None:
        """Do one thing."""
        if self.world.closing.is_set():
            await self.world.over.wait()
            return
        way = self.chance.random()
        try:
            if way < 0.5:
                await self._report()
            elif way < 0.8:
                await self._hand_over()
            else:
                await self._broadcast()
        except FabricError:
            await self.pause(0.05, 0.3)
        await self.pause(0.05, 0.3)

    async def _report(self) -> None:
        status, text = self.chance.choice(_STATUSES), f"report-{self.recorder.tag()}"
        kept = status in ("blocked", "help")
        await self.recorder.call(
            self.name,
            "status",
            lambda: self._post(f"/agent/{status}", session_id=self.name, message=text),
            tag=text if kept else "",
            swarm_id=self.name,
            status=status,
        )

    async def _hand_over(self) -> None:
        manual = sorted(self.world.manual)
        fresh = f"{self.name}-{self.recorder.tag()}"
        task_id = self.chance.choice(manual) if manual and self.chance.random() < 0.5 else fresh
        # Without a session of its own the swarm loses the claim when its time is over.
        swarm_id = self.chance.choice(("caller-0", "caller-1"))
        answer = await self.recorder.call(
            self.name,
            "hand-over",
            lambda: self._post("/task/assign", session_id=swarm_id, task={"id": task_id}),
            answer=lambda told: {"claimed": True, "attempt": told["task"]["attempt"]},
            swarm_id=swarm_id,
            task_id=task_id,
        )
        self.holds(task_id, answer["task"]["attempt"], swarm_id)

    async def _broadcast(self) -> None:
        text = f"text-{self.recorder.tag()}"
        await self.recorder.call(
            self.name,
            "broadcast",
            lambda: self._post("/broadcast", message=text, request_id=text),
            tag=text,
        )

    async def _post(self, path: str, **body: Any) -> dict[str, Any]:
        server = pick(self.world.setup, self.chance).http.address
        try:
            async with httpx.AsyncClient(timeout=DEADLINE) as client:
                answer = await client.post(f"http://{server}{path}", json=body)
            told: dict[str, Any] = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            raise Unreachable(f"no answer: {error!r}") from error
        if answer.status_code == httpx.codes.OK:
            return told
        if answer.status_code == httpx.codes.INTERNAL_SERVER_ERROR:
            raise Unreachable(f"the server failed: {told}")
        raise _PASSING.get(told["reason"], Refused)(told["message"], reason=told["reason"])


class EventReader(Watcher):
    """Follows `/events`, from the id of the last event on."""

    def __init__(self, name: str, world: World) -> None:
        super().__init__(name, world)
        self._together: list[tuple[str, dict[str, Any]]] = []

    async def read(self, channel: grpc.aio.Channel) -> AsyncGenerator[Any, None]:
        """Read events from the last id on."""
        del channel  # it is of gRPC
        # What had no id yet comes again.
        self._together.clear()
        server = pick(self.world.setup, self.chance).http.address
        headers = {"last-event-id": self.cursor} if self.cursor else {}
        name, cursor = "", ""
        try:
            async with (
                httpx.AsyncClient(timeout=httpx.Timeout(DEADLINE, read=None)) as client,
                client.stream("GET", f"http://{server}/events", headers=headers) as answer,
            ):
                async for line in answer.aiter_lines():
                    field, _, value = line.partition(": ")
                    match field:
                        case "id":
                            cursor = value
                        case "event":
                            name = value
                        case "data":
                            yield name, cursor, json.loads(value)
                            cursor = ""
        except httpx.HTTPError as error:
            raise Unreachable(f"the stream ended: {error!r}") from error

    def take(self, message: Any) -> None:
        """Note an event; those that happened together when the last of them is here."""
        name, cursor, data = message
        if name == "gap":
            self.recorder.see(self.name, "status-gap")
            self._together.clear()
        elif name == "snapshot_end":
            self.recorder.see(self.name, "status-snapshot-end", cursor=cursor)
            self._together.clear()
        else:
            self._together.append((name, data))
            if cursor:
                for each, told in self._together:
                    self._note(each, cursor, told)
                self._together.clear()
        self.cursor = cursor or self.cursor

    def _note(self, name: str, cursor: str, data: dict[str, Any]) -> None:
        match name:
            case "broadcast":
                text = data["message"]
                told = {"what": "broadcast", "about": f"text {text}", "status": "", "message": text}
            case "removed":
                about = data["session_id"]
                told = {"what": "status", "about": about, "status": "removed", "message": ""}
            case _:
                told = {
                    "what": "status",
                    "about": data["session_id"],
                    "status": f"STATUS_{data['status'].upper()}",
                    "message": data["message"] or "",
                }
        self.recorder.see(self.name, "status-changed", cursor=cursor, **told)
