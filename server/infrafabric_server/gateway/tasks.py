"""Handing a task to one swarm over HTTP."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Protocol

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from infrafabric_server.coordinator.models import ClaimOutcome, Refusal
from infrafabric_server.edge.struct_json import object_to_json
from infrafabric_server.gateway.bodies import read_object
from infrafabric_server.gateway.refusals import draining, refusal_body
from infrafabric_server.gateway.requests import AssignBody
from infrafabric_server.store.second_look import CatchUp


class HandDispatch(Protocol):
    """Giving a task to a swarm by hand."""

    async def hand_over(
        self, swarm_id: str, task_id: str, title: str, input_json: str
    ) -> ClaimOutcome:
        """Claim a task for a swarm, as it would itself; both are made known if they are not.

        With an open session the claim is bound to it and pushed down it. A repeat is won
        again. Raises LIMIT_REACHED, CONTENTION, OUTBOX_FULL.
        """
        ...


class Tasks:
    """`/task/assign`."""

    def __init__(
        self, dispatch: HandDispatch, is_draining: Callable[[], bool], catch_up: CatchUp
    ) -> None:
        self._dispatch = dispatch
        self._is_draining = is_draining
        self._catch_up = catch_up

    def routes(self) -> list[Route]:
        """Return the route."""
        return [Route("/task/assign", self.assign, methods=["POST"])]

    async def assign(self, request: Request) -> Response:
        """Claim a task for a swarm; the first call creates it."""
        body = AssignBody.model_validate(await read_object(request))
        task = body.task
        input_json = object_to_json("task", task.model_extra or {})
        if self._is_draining():
            raise draining()
        await self._catch_up()
        outcome = await self._dispatch.hand_over(
            body.session_id, task.id, task.title or "", input_json
        )
        if outcome.refusal is not None:
            return refusal_body(
                HTTPStatus.CONFLICT,
                outcome.refusal.name,
                _why(outcome.refusal, body.session_id, task.id, outcome),
                owner=outcome.owner or None,
            )
        attempt = 0 if outcome.task is None else outcome.task.attempt
        assigned = {"id": task.id, "title": task.title, "attempt": attempt}
        return JSONResponse({"status": "received", "session_id": body.session_id, "task": assigned})


def _why(refusal: Refusal, swarm_id: str, task_id: str, outcome: ClaimOutcome) -> str:
    match refusal:
        case Refusal.ALREADY_CLAIMED | Refusal.LOST_RACE:
            return f"task {task_id} is held by {outcome.owner or 'another swarm'}"
        case Refusal.NOT_AVAILABLE:
            state = "not available" if outcome.task is None else outcome.task.state.value
            return f"task {task_id} is {state} and cannot be claimed by {swarm_id} now"
        case Refusal.NO_SLOT:
            return f"{swarm_id} works on as many tasks as it may; wait until one has ended"
        case Refusal.TASK_NOT_FOUND | Refusal.SWARM_UNKNOWN:
            return f"task {task_id} or {swarm_id} was removed meanwhile; try again"
        case Refusal.BUDGET | Refusal.BREAKER_OPEN | Refusal.POLICY | Refusal.HOLD:
            return outcome.detail
