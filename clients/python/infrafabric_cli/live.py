"""The live table of `infrafabric status`: all swarms, as they are now."""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime

from rich.cells import chop_cells
from rich.console import Console
from rich.live import Live
from rich.text import Text

from infrafabric import Client
from infrafabric.errors import FabricError
from infrafabric.v1.notify_service_pb2 import StatusEvent
from infrafabric.v1.status_pb2 import AgentStatus, Status
from infrafabric_cli.agents import COLUMNS, NO_SWARMS, places, row
from infrafabric_cli.halts import Halts, read_halts
from infrafabric_cli.layout import arrange, fits, wrap
from infrafabric_cli.outages import Outages
from infrafabric_cli.output import plain, print_lines

# What the table keeps where there is no room for all columns beside each other.
_MOST_WANTED = frozenset({"swarm", "status", "task", "queue", "message"})

# Ages are drawn anew each second, and changes at once, but not faster than they can be read.
_REDRAW_SECONDS = 1.0
_PAUSE_SECONDS = 0.1
# Breakers have no events here: what is open is asked for each time.
_HALTS_SECONDS = 3.0


class StatusBoard:
    """The present state of all swarms, from the events of a watch.

    Attributes:
        agents: statuses by swarm.
        complete: whether a snapshot is not under way.
        said: the last text for everyone.
        halts: what keeps work from swarms.
        outage: why nobody answers, so that this is how it was; empty when it is.
    """

    def __init__(self) -> None:
        self.agents: dict[str, AgentStatus] = {}
        self.complete = False
        self.said = ""
        self.halts = Halts()
        self.outage = ""
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

    def lines(self, now: datetime, width: int) -> list[str]:
        """Return how all swarms are, as lines of a terminal of so many columns."""
        agents = [self.agents[swarm_id] for swarm_id in sorted(self.agents)]
        idle = sum(agent.status == Status.STATUS_IDLE for agent in agents)
        # Who moves up because another left is not told of as a change.
        queue = places(agents, self.halts)
        title = f"{len(agents)} swarms, {idle} idle, {len(queue)} of them waiting for work"
        # The hold is of all of them, and stays in sight when the table does not fit.
        notices = self.halts.of_fabric(now)
        if self.said:
            notices.append(f"to everyone: {self.said}")
        if self.outage:
            notices.insert(0, f"as it was, {self.outage}")
        said = _wrapped(notices, width)
        if not agents:
            return [NO_SWARMS, *said]
        columns = COLUMNS
        rows = [
            tuple(map(plain, row(agent, now, queue.get(agent.swarm_id, 0)))) for agent in agents
        ]
        if not fits(columns, rows, width):
            kept = [at for at, column in enumerate(columns) if column.name in _MOST_WANTED]
            columns = tuple(columns[at] for at in kept)
            rows = [tuple(cells[at] for at in kept) for cells in rows]
        below = _wrapped(self.halts.of_swarms(now), width)
        return [title, *said, "", *arrange(columns, rows, width), *([""] if below else []), *below]

    def view(self, now: datetime, width: int, height: int) -> list[str]:
        """Return what a terminal of so many columns and lines shows while it is live."""
        lines = [
            part for line in self.lines(now, width) for part in chop_cells(line, width) or [""]
        ]
        if len(lines) <= height:
            return lines
        hidden = len(lines) - height + 1
        return [*lines[: height - 1], f"... and {hidden} more lines: status --once"[:width]]


async def show_live(client: Client, outages: Outages) -> None:
    """Show all swarms as they are now, without end; what was shown last stays on the terminal.

    Args:
        client: of the fabric.
        outages: of that client, which are shown.

    Raises:
        FabricError: the fabric refuses to be watched.
    """
    board, console, changed = StatusBoard(), Console(), asyncio.Event()
    board.halts = await read_halts(client, whole=False)
    try:
        # A screen of its own: the other is found as it was left, whatever was typed meanwhile.
        with Live(console=console, auto_refresh=False, screen=True) as live:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(_follow(client, board, changed))
                tasks.create_task(_follow_halts(client, board))
                tasks.create_task(_draw(live, board, changed, outages))
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None
    except asyncio.CancelledError:
        if board.complete:
            print_lines(board.lines(datetime.now(UTC), console.width))
        raise


async def _follow(client: Client, board: StatusBoard, changed: asyncio.Event) -> None:
    async for event in client.statuses.watch():
        board.apply(event)
        if board.complete:
            changed.set()


async def _follow_halts(client: Client, board: StatusBoard) -> None:
    while True:
        await asyncio.sleep(_HALTS_SECONDS)
        # Of an outage the watch tells.
        with suppress(FabricError):
            board.halts = await read_halts(client, whole=False)


def _wrapped(lines: list[str], width: int) -> list[str]:
    return [part for line in lines for part in wrap(plain(line), width)]


async def _draw(live: Live, board: StatusBoard, changed: asyncio.Event, outages: Outages) -> None:
    await changed.wait()
    while True:
        changed.clear()
        width, height = live.console.size
        board.outage = outages.reason
        if board.complete:
            lines = board.view(datetime.now(UTC), width, height)
            live.update(Text("\n".join(lines), no_wrap=True), refresh=True)
        await asyncio.sleep(_PAUSE_SECONDS)
        with suppress(TimeoutError):
            async with asyncio.timeout(_REDRAW_SECONDS):
                await changed.wait()
