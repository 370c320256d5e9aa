"""`infrafabric status`: who does what, once or live."""

import os
import sys
from datetime import UTC, datetime
from typing import Annotated

import typer

from infrafabric import Client
from infrafabric.v1.blocker_pb2 import Blocker
from infrafabric.v1.status_pb2 import AgentStatus
from infrafabric_cli.agents import COLUMNS, NO_SWARMS, blocked, line, places, row
from infrafabric_cli.halts import read_halts
from infrafabric_cli.options import DEFAULT_SERVER, Json, Server
from infrafabric_cli.outages import Outages
from infrafabric_cli.output import as_json, print_json, print_rows, print_text, say
from infrafabric_cli.running import first_answer, run


def status(
    *,
    once: Annotated[bool, typer.Option("--once", help="Print once, also to a terminal.")] = False,
    follow: Annotated[
        bool, typer.Option("--follow", help="Print a line for every change, without end.")
    ] = False,
    server: Server = DEFAULT_SERVER,
    as_json_lines: Json = False,
) -> None:
    """Show what every swarm is doing: live on a terminal, else once, as plain lines.

    `queue` is the place of a swarm that waits for work and may be given some. `reported USD`
    is what its reports and its tasks add up to; what its account was charged is in
    `infrafabric budget show`. What keeps work from swarms is told as well; of that, --json
    has nothing, but `infrafabric breaker list --json` has.
    """
    outages = Outages(server)

    async def command(client: Client) -> None:
        if follow:
            await first_answer(client)
            await _follow(client, as_lines=as_json_lines)
        elif as_json_lines:
            await _document(client)
        elif once or not _can_be_live():
            await _once(client)
        else:
            # No other command draws.
            from infrafabric_cli.live import show_live

            await first_answer(client)
            outages.aloud = False
            await show_live(client, outages)

    run(server, command, outages)


def _can_be_live() -> bool:
    # A dumb terminal cannot move its cursor back.
    return sys.stdout.isatty() and os.environ.get("TERM", "") not in ("dumb", "unknown")


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
    halts = await read_halts(client)
    now = datetime.now(UTC)
    queue = places(agents, halts)
    rows = (row(agent, now, queue.get(agent.swarm_id, 0)) for agent in agents)
    print_rows(COLUMNS, rows, NO_SWARMS)
    below = [*halts.of_fabric(now), *halts.of_swarms(now)]
    below += [blocked(blocker, now) for blocker in blockers]
    if below and sys.stdout.isatty():
        say("")
    for each in below:
        print_text(each)


async def _follow(client: Client, *, as_lines: bool) -> None:
    async for event in client.statuses.watch():
        if as_lines:
            print_json(as_json(event))
        elif text := line(event, datetime.now(UTC)):
            say(text)
