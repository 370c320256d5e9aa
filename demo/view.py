"""How a run looks: a live picture in a terminal, plain lines elsewhere."""

import time
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from demo.picture import News, Picture, SessionRow
from infrafabric.v1.task_pb2 import TASK_STATE_CLAIMED, TASK_STATE_COMPLETED

# Lines of news that the live picture keeps; with ten sessions it fits a window of 24 lines.
NEWS_LINES = 6
REFRESH_PER_SECOND = 8

_STYLES = {
    "idle": "bright_black",
    "busy": "green",
    "completed": "green",
    "blocked": "yellow",
    "help": "magenta",
    "killed": "red",
    "starting": "bright_black",
}


class View(Protocol):
    """Shows a run to a person."""

    def tell(self, news: News) -> None:
        """Show a piece of news."""
        ...

    def shown(self) -> AbstractContextManager[Any]:
        """Return the context in which the picture is on the screen."""
        ...


class PlainView:
    """One line of news after the other, for logs and pipes.

    Args:
        console: where they go.
        clock: returns seconds that never go back.
    """

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._begin = clock()

    def tell(self, news: News) -> None:
        """Print a line."""
        line = f"[{_elapsed(self._clock() - self._begin)}] {news.text}"
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def shown(self) -> AbstractContextManager[Any]:
        """Return a context that does nothing: lines stay where they are."""
        return nullcontext()


class LiveView:
    """The fleet, the board and the last news, drawn again and again in place.

    Args:
        console: the terminal.
        picture: what is drawn.
        scale: what the heading says of the simulated work.
        clock: returns seconds that never go back.
    """

    def __init__(
        self,
        console: Console,
        picture: Picture,
        scale: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console = console
        self._picture = picture
        self._scale = scale
        self._clock = clock
        self._begin = clock()
        self._news: deque[tuple[float, str]] = deque(maxlen=NEWS_LINES)

    def tell(self, news: News) -> None:
        """Put a line under the picture, unless it is routine, while it is among the last ones."""
        if not news.routine:
            self._news.append((self._clock() - self._begin, news.text))

    def shown(self) -> AbstractContextManager[Any]:
        """Return the context in which the picture is drawn."""
        return Live(
            get_renderable=self.render,
            console=self._console,
            refresh_per_second=REFRESH_PER_SECOND,
        )

    def render(self) -> RenderableType:
        """Return the picture of this moment."""
        parts = (self._heading(), self._fleet(), self._board(), self._last_news())
        return Padding(Group(*parts), (1, 1, 0, 1))

    def _heading(self) -> RenderableType:
        heading = Table.grid(expand=True)
        heading.add_column()
        heading.add_column(justify="right")
        heading.add_row(
            Text("InfraFabric · the Phase 0 board", style="bold"),
            Text(f"{self._scale}   {_elapsed(self._clock() - self._begin)}", style="bright_black"),
        )
        return Padding(heading, (0, 0, 1, 0))

    def _fleet(self) -> RenderableType:
        fleet = Table.grid(padding=(0, 2), expand=True)
        fleet.add_column(width=16, no_wrap=True)
        fleet.add_column(width=11, no_wrap=True)
        fleet.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
        fleet.add_column(width=4, no_wrap=True)
        fleet.add_column(width=7, justify="right", no_wrap=True)
        for swarm_id in self._picture.swarm_ids:
            fleet.add_row(*_cells(self._picture.row(swarm_id)))
        return Padding(fleet, (0, 0, 1, 0))

    def _board(self) -> RenderableType:
        states = self._picture.states
        total, done = sum(states.values()), states[TASK_STATE_COMPLETED]
        working = states[TASK_STATE_CLAIMED]
        board = Table.grid(padding=(0, 2), expand=True)
        board.add_column(width=16)
        board.add_column(ratio=1)
        board.add_column(justify="right", no_wrap=True)
        board.add_row(
            f"{done} of {total} tasks" if total else "no board yet",
            ProgressBar(max(total, 1), done, complete_style="green", finished_style="green"),
            Text(f"{working} under way, {total - done - working} wait", style="bright_black"),
        )
        return Padding(board, (0, 0, 1, 0))

    def _last_news(self) -> RenderableType:
        news = Text(no_wrap=True, overflow="ellipsis")
        for when, line in self._news:
            news.append(f"{_elapsed(when)}  ", style="bright_black")
            news.append(f"{line}\n")
        news.append("\n" * (NEWS_LINES - len(self._news) - 1))
        return news


def _cells(row: SessionRow) -> tuple[RenderableType, ...]:
    style = _STYLES.get(row.word, "")
    resting = row.task is None and row.parked is None
    name = Text(row.swarm_id, style="bright_black" if resting and row.word == "idle" else "")
    status = Text(f"{'○' if row.word in ('idle', 'starting') else '●'} {row.word}", style=style)
    what, milestone = Text(), Text()
    if row.task is not None:
        what.append(f"{row.task.task_id} ", style="cyan" if row.task.filler else "bold")
        what.append(row.task.title)
        reached = row.task.milestone_percent // 25
        milestone = Text("▰" * reached, style="green") + Text("▱" * (4 - reached), "bright_black")
    if row.parked is not None:
        what.append(f"{' · ' if row.task else ''}{row.parked.task_id} is parked", style="yellow")
    done = Text(f"{row.done} done" if row.done else "", style="bright_black")
    return name, status, what, milestone, done


def _elapsed(seconds: float) -> str:
    return f"{int(seconds) // 60:02d}:{int(seconds) % 60:02d}"
