"""Statuses as JSON, in the words of the HTTP API."""

import json
from collections.abc import AsyncIterator, Iterable, Iterator
from datetime import datetime
from itertools import islice
from typing import Any

from infrafabric_server.fleet.models import Broadcast
from infrafabric_server.notify.models import Agent

# About 2 ms of the loop at a time, so that a large fleet's status holds nobody up.
_PART = 100


def agent_json(agent: Agent) -> dict[str, Any]:
    """Return one swarm's status."""
    status = agent.status
    time = time_text(status.status_time)
    return {
        "session_id": status.swarm_id,
        "status": status.status.value,
        "time": time,
        "timestamp": time,
        "last_task": status.last_task,
        "capabilities": sorted(agent.capabilities),
        "cost_spent": dollars(status.cost_spent_micros),
        "tasks_completed": status.tasks_completed,
        "waiting_since": status.waiting_since and time_text(status.waiting_since),
        "message": status.message or None,
    }


def broadcast_json(broadcast: Broadcast) -> dict[str, Any]:
    """Return a text for everyone."""
    return {"message": broadcast.message, "time": time_text(broadcast.send_time)}


def time_text(time: datetime) -> str:
    """Return a UTC time as RFC 3339 writes it."""
    return time.isoformat().replace("+00:00", "Z")


def dollars(micros: int) -> float:
    """Return micro-dollars as US dollars; the nearest double prints as the exact decimal."""
    return micros / 1_000_000


def dumps(value: object) -> str:
    """Return `value` as compact JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


async def status_json(
    agents: Iterable[Agent], total: int, idle_queue: list[str]
) -> AsyncIterator[str]:
    """Yield the status of the whole fleet, in parts."""
    head = {"total_agents": total, "idle_agents": len(idle_queue), "idle_queue": idle_queue}
    yield dumps(head)[:-1] + ',"agents":{'
    separator = ""
    for part in _parts(agents):
        members = (f"{dumps(each.status.swarm_id)}:{dumps(agent_json(each))}" for each in part)
        yield separator + ",".join(members)
        separator = ","
    yield "}}"


def _parts(agents: Iterable[Agent]) -> Iterator[list[Agent]]:
    iterator = iter(agents)
    while part := list(islice(iterator, _PART)):
        yield part
