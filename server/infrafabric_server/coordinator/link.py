"""The server's end of one open session: what it still has to say, and what was said."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from infrafabric_server.coordinator.frames import Closing, ClosingAction, Frame
from infrafabric_server.errors import FabricError, Reason
from infrafabric_server.fleet.models import SessionRole

MAX_WAITING_FRAMES = 2_048

# For so long an offer that was shown goes before an assignment: the session is about to
# claim it, and its slot must not be filled with a younger task meanwhile.
PATIENCE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Ending:
    """Why a stream ends; `error` is None when it ends well."""

    error: FabricError | None


class SessionLink:
    """One open session of a swarm on this replica.

    Frames are queued and never awaited, so that no reader can hold up a decision; a
    reader too slow for `MAX_WAITING_FRAMES` beyond its welcome loses its stream and resumes.
    `heard` is the revision after which it has not heard broadcasts. `credit` is the
    number of task frames that may still be sent, None without limit. `working` maps each
    task that the session was given or claimed to its attempt, `unacknowledged` those it
    has not confirmed; `declined` has the ids of tasks it refused, `offered` those it
    was shown and when (by the monotonic clock). `ended` is set when nothing more will be queued.
    """

    def __init__(
        self,
        swarm_id: str,
        epoch: int,
        lease: int,
        role: SessionRole,
        credit: int | None,
        heard: int,
    ) -> None:
        self.swarm_id = swarm_id
        self.epoch = epoch
        self.lease = lease
        self.role = role
        self.credit = credit
        self.heard = heard
        self.suspended = False
        self.working: dict[str, int] = {}
        self.claiming: set[str] = set()
        self.ending_tasks: set[str] = set()
        self.unacknowledged: dict[str, int] = {}
        self.declined: set[str] = set()
        self.offered: dict[str, float] = {}
        self._waiting: deque[Frame] = deque()
        self._room: int | None = None
        self._wake = asyncio.Event()
        self._ending: Ending | None = None
        self.ended = asyncio.Event()

    @property
    def live(self) -> bool:
        """Whether frames can still be sent."""
        return self._ending is None

    def deciding(self, now: float) -> int:
        """Return how many offers were shown so lately that the session may still take them."""
        return sum(1 for shown in self.offered.values() if now - shown < PATIENCE_SECONDS)

    @property
    def waiting(self) -> int:
        """How many frames wait to be sent."""
        return len(self._waiting)

    @property
    def takes_work(self) -> bool:
        """Whether tasks may be sent now."""
        return (
            self.live
            and self.role is SessionRole.WORKER
            and not self.suspended
            and (self.credit is None or self.credit > 0)
        )

    def send(self, *frames: Frame) -> None:
        """Queue frames; on overflow the stream ends with QUEUE_OVERFLOW. Ignored after the end."""
        if not self.live:
            return
        if self._room is not None and len(self._waiting) + len(frames) > self._room:
            self._waiting.clear()
            self._waiting.append(
                Closing(ClosingAction.RESUME, "frames were read too slowly; resume")
            )
            self._finish(
                FabricError(
                    Reason.QUEUE_OVERFLOW,
                    f"more than {MAX_WAITING_FRAMES} frames waited to be read; resume",
                )
            )
            return
        self._waiting.extend(frames)
        self._wake.set()

    def welcomed(self) -> None:
        """Let the limit begin: the welcome is as long as it is, or a session could never resume."""
        self._room = MAX_WAITING_FRAMES + len(self._waiting)

    def end(self, action: ClosingAction, reason: str, error: FabricError | None = None) -> None:
        """Announce the end, then end the stream with `error` (None: well)."""
        if self.live:
            self._waiting.append(Closing(action, reason))
            self._finish(error)

    def finish(self) -> None:
        """End the stream well, after all that waits was sent."""
        if self.live:
            self._finish(None)

    def drop(self) -> None:
        """Stop at once without another word: the stream is gone already."""
        if self.live:
            self._waiting.clear()
            self._finish(None)

    @contextlib.contextmanager
    def claims(self, task_id: str) -> Iterator[None]:
        """While the session itself claims a task, do not push it: the answer brings it."""
        self.claiming.add(task_id)
        try:
            yield
        finally:
            self.claiming.discard(task_id)

    @contextlib.contextmanager
    def ending(self, task_id: str) -> Iterator[None]:
        """While the session itself ends a claim, do not tell it that the claim has ended."""
        self.ending_tasks.add(task_id)
        try:
            yield
        finally:
            self.ending_tasks.discard(task_id)

    def ending_of(self) -> Ending:
        """Return why the stream ends; well, if it has not been said."""
        return self._ending or Ending(None)

    def _finish(self, error: FabricError | None) -> None:
        self._ending = Ending(error)
        self.ended.set()
        self._wake.set()

    async def take(self, most: int) -> tuple[list[Frame], Ending | None]:
        """Return up to `most` frames that wait, and the ending once nothing waits any more."""
        while not self._waiting and self._ending is None:
            self._wake.clear()
            await self._wake.wait()
        batch = [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]
        return batch, None if self._waiting else self._ending

    def give_back(self, frames: Iterable[Frame]) -> None:
        """Put frames that did not fit a message back to the front, in their order."""
        self._waiting.extendleft(reversed(list(frames)))


class Links:
    """The open sessions of this replica, by swarm."""

    def __init__(self) -> None:
        self._links: dict[str, SessionLink] = {}

    def get(self, swarm_id: str) -> SessionLink | None:
        """Return the live session of a swarm, or None."""
        link = self._links.get(swarm_id)
        return link if link is not None and link.live else None

    def add(self, link: SessionLink) -> None:
        """Make `link` the session of its swarm; an older one must have been ended."""
        self._links[link.swarm_id] = link

    def remove(self, link: SessionLink) -> None:
        """Forget `link`, unless a newer one has taken its place."""
        if self._links.get(link.swarm_id) is link:
            del self._links[link.swarm_id]

    def live(self) -> list[SessionLink]:
        """Return all sessions that can be spoken to."""
        return [link for link in self._links.values() if link.live]

    def __len__(self) -> int:
        return len(self._links)
