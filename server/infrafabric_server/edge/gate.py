"""Who is let in while the server drains, and who is asked to leave when it stops."""

import asyncio
from typing import Any

from infrafabric_server.errors import FabricError, Reason


def draining() -> FabricError:
    """Return the refusal of a server that is about to stop."""
    return FabricError(
        Reason.DRAINING,
        "the server is about to stop; try again in a moment, or at another server",
        retry_after=1.0,
    )


class Gate:
    """The one switch between taking work, draining and stopping."""

    def __init__(self) -> None:
        self._draining = False
        self._stopping = False
        self._watchers: set[asyncio.Task[Any]] = set()
        self._working = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def draining(self) -> bool:
        """Whether no new work is taken."""
        return self._draining

    def drain(self) -> None:
        """Take no new work from now on."""
        self._draining = True

    def stop(self) -> None:
        """End every stream that only watches; none of them would end by itself."""
        self._draining = self._stopping = True
        for watcher in self._watchers:
            watcher.cancel()

    def admit(self) -> None:
        """Let in a call that changes something, until it is `done`.

        Raises DRAINING if no new work is taken.
        """
        if self._draining:
            raise draining()
        self._working += 1
        self._idle.clear()

    def done(self) -> None:
        """Note that a call that was admitted has ended."""
        self._working -= 1
        if not self._working:
            self._idle.set()

    async def idle(self) -> None:
        """Return when every call that was admitted has ended."""
        await self._idle.wait()

    def enter(self) -> asyncio.Task[Any]:
        """Let in a stream that only watches, served by the current task, until it `leave`s.

        Raises DRAINING when the server stops.
        """
        if self._stopping:
            raise draining()
        watcher = asyncio.current_task()
        assert watcher is not None, "streams are served by tasks"
        self._watchers.add(watcher)
        return watcher

    def leave(self, watcher: asyncio.Task[Any]) -> bool:
        """Note that a stream ended; return whether it was `stop` that ended it."""
        self._watchers.discard(watcher)
        return self._stopping and watcher.cancelling() > 0
