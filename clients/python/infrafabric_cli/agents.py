"""How statuses of swarms are shown: as rows, and as lines."""

from collections.abc import Iterable
from datetime import datetime

from infrafabric.money import format_usd
from infrafabric.v1.blocker_pb2 import Blocker
from infrafabric.v1.notify_service_pb2 import StatusEvent
from infrafabric.v1.status_pb2 import AgentStatus, Status
from infrafabric_cli.halts import Halts
from infrafabric_cli.layout import Column, number, text
from infrafabric_cli.names import age, short

COLUMNS = (
    *map(Column, ("swarm", "status", "since")),
    *(text("task"), number("queue"), number("done"), number("reported USD"), text("message")),
)
NO_SWARMS = "no swarms; register one: infrafabric swarm register ID"


def places(agents: Iterable[AgentStatus], halts: Halts) -> dict[str, int]:
    """Return the places, from 1, of the swarms that wait for work and may be given some.

    Args:
        agents: statuses of all swarms; places in them may be those of a while ago.
        halts: what keeps work from swarms.
    """
    # An idle swarm without a place in the queue is given no work, such as one that is gone.
    waiting = [
        each for each in agents if each.queue_position and not halts.keep_from(each.swarm_id)
    ]
    # As the fabric orders them.
    waiting.sort(key=lambda each: (each.waiting_since_time.ToNanoseconds(), each.swarm_id))
    return {each.swarm_id: place for place, each in enumerate(waiting, 1)}


def row(agent: AgentStatus, now: datetime, place: int) -> tuple[str, ...]:
    """Return the cells of one swarm, in the order of COLUMNS; place 0 is none in the queue."""
    return (
        agent.swarm_id,
        short(Status.DESCRIPTOR, agent.status),
        age(agent.status_time, now),
        agent.last_task,
        str(place or ""),
        str(agent.tasks_completed),
        format_usd(agent.cost_spent_micros),
        agent.message,
    )


def line(event: StatusEvent, now: datetime) -> str:
    """Return one event as a line for people; empty when it says nothing to them."""
    match event.WhichOneof("event"):
        case "snapshot":
            return _described(event.snapshot, now)
        case "changed":
            return _described(event.changed, now)
        case "removed_swarm_id":
            return f"{event.removed_swarm_id}: deregistered"
        case "broadcast":
            return f"to everyone: {event.broadcast.message}"
        case "gap":
            return "changes were missed; everything follows anew"
    return ""


def blocked(blocker: Blocker, now: datetime) -> str:
    """Return one open blocker as a line for people."""
    task = f" on {blocker.task_id}" if blocker.task_id else ""
    needs = f", needs {', '.join(blocker.needs)}" if blocker.needs else ""
    since = age(blocker.create_time, now)
    return f"blocked: {blocker.swarm_id}{task} for {since}: {blocker.description}{needs}"


def _described(agent: AgentStatus, now: datetime) -> str:
    details = [part for part in (agent.last_task, agent.message) if part]
    since = age(agent.status_time, now)
    about = f" ({'; '.join(details)})" if details else ""
    return f"{agent.swarm_id}: {short(Status.DESCRIPTOR, agent.status)}{about}, since {since}"
