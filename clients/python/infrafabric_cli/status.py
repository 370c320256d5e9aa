"""`infrafabric status`: who does what, once or live."""

import sys
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from infrafabric import Client
from infrafabric.money import format_usd
from infrafabric.v1.blocker_pb2 import Blocker
from infrafabric.v1.notify_service_pb2 import StatusEvent
from infrafabric.v1.status_pb2 import AgentStatus, Status
from infrafabric_cli.names import age, short
from infrafabric_cli.options import DEFAULT_SERVER, Json, Server
from infrafabric_cli.output import as_json, plain, print_json, print_rows, say, table
from infrafabric_cli.running import first_answer, run

HEADERS = ("swarm", "status", "since", "task", "queue", "done", "cost USD", "message")

# Below this width only some of the columns can be read.
_WIDE = 72
_MOST_WANTED = tuple(map(HEADERS.index, ("swarm", "status", "task", "message")))


def status(
    *,
    once: Annotated[bool, typer.Option("--once", help="Print once, also to a terminal.")] = False,
    follow: Annotated[
        bool, typer.Option("--follow", help="Print a line for every change, without end.")
    ] = False,
    server: Server = DEFAULT_SERVER,
    as_json_lines: Json = False,
) -> None:
    """Show what every swarm is doing: live on a terminal, else once, as plain lines."""

    async def command(client: Client) -> None:
        if follow:
            await first_answer(client)
            await _follow(client, as_lines=as_json_lines)
        elif as_json_lines:
            await _document(client)
        elif once or not sys.stdout.isatty():
            await _once(client)
        else:
            await first_answer(client)
            await _live(client)

    run(server, command)


async def _document(client: Client) -> None:
    agents: list[object] = []
    document: dict[str, object] = {"agents": agents}
    async for page in client.statuses.pages():
        if not agents:
            document["total_agents"] = page.total_agents
            document["idle_agents"] = page.idle_agents
            document["blockers"] = [as_json(blocker) for blocker in page.blockers]
        agents.extend(as_json(agent) for agent in page.agents)
    print_json(document)


async def _once(client: Client) -> None:
    agents: list[AgentStatus] = []
    blockers: list[Blocker] = []
    async for page in client.statuses.pages():
        agents.extend(page.agents)
        blockers.extend(page.blockers)
    now = datetime.now(UTC)
    print_rows(HEADERS, (row(agent, now) for agent in agents))
    for blocker in blockers:
        say(_blocked(blocker, now))


async def _follow(client: Client, *, as_lines: bool) -> None:
    async for event in client.statuses.watch():
        if as_lines:
            print_json(as_json(event))
        elif text := line(event, datetime.now(UTC)):
            say(text)


async def _live(client: Client) -> None:
    board = StatusBoard()
    console = Console()
    with Live(console=console, auto_refresh=False, screen=False) as live:
        async for event in client.statuses.watch():
            board.apply(event)
            if board.complete:
                live.update(board.view(datetime.now(UTC), console.width), refresh=True)


class StatusBoard:
    """The present state of all swarms, from the events of a watch.

    Attributes:
        agents: statuses by swarm.
        complete: whether a snapshot is not under way.
        said: the last text for everyone.
    """

    def __init__(self) -> None:
        self.agents: dict[str, AgentStatus] = {}
        self.complete = False
        self.said = ""
        self._snapshot: dict[str, AgentStatus] = {}

    def apply(self, event: StatusEvent) -> None:
        """Take one event in; a new snapshot replaces everything once it is complete."""
        match event.WhichOneof("event"):
            case "snapshot":
                self.complete = False
                self._snapshot[event.snapshot.swarm_id] = event.snapshot
            case "snapshot_end":
                self.agents, self._snapshot = self._snapshot, {}
                self.complete = True
            case "gap":
                self._snapshot = {}
            case "changed":
                self.agents[event.changed.swarm_id] = event.changed
            case "removed_swarm_id":
                self.agents.pop(event.removed_swarm_id, None)
            case "broadcast":
                self.said = event.broadcast.message

    def view(self, now: datetime, width: int) -> Group:
        """Return what a terminal of so many columns shows."""
        agents = [self.agents[swarm_id] for swarm_id in sorted(self.agents)]
        idle = sum(agent.status == Status.STATUS_IDLE for agent in agents)
        title = f"{len(agents)} swarms, {idle} idle"
        shown = range(len(HEADERS)) if width >= _WIDE else _MOST_WANTED
        headers = [HEADERS[column] for column in shown]
        rows = ([row(agent, now)[column] for column in shown] for agent in agents)
        view = Group(table(headers, rows, title))
        if self.said:
            view.renderables.append(Text(f"to everyone: {plain(self.said)}"))
        return view


def row(agent: AgentStatus, now: datetime) -> tuple[str, ...]:
    """Return the cells of one swarm, in the order of HEADERS."""
    return (
        agent.swarm_id,
        short(Status.DESCRIPTOR, agent.status),
        age(agent.status_time, now),
        agent.last_task,
        str(agent.queue_position or ""),
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


def _described(agent: AgentStatus, now: datetime) -> str:
    details = [part for part in (agent.last_task, agent.message) if part]
    since = age(agent.status_time, now)
    about = f" ({'; '.join(details)})" if details else ""
    return f"{agent.swarm_id}: {short(Status.DESCRIPTOR, agent.status)}{about}, since {since}"


def _blocked(blocker: Blocker, now: datetime) -> str:
    task = f" on {blocker.task_id}" if blocker.task_id else ""
    needs = f", needs {', '.join(blocker.needs)}" if blocker.needs else ""
    since = age(blocker.create_time, now)
    return f"blocked: {blocker.swarm_id}{task} for {since}: {blocker.description}{needs}"
