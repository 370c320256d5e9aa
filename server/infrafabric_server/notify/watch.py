"""The watch of statuses: a snapshot, then every change, with a cursor to go on from."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from dataclasses import dataclass
from itertools import islice

from infrafabric_server.fleet.fleet import Fleet
from infrafabric_server.fleet.models import AgentStatus, Broadcast, SwarmProfile
from infrafabric_server.notify.models import MAX_TOGETHER, Agent
from infrafabric_server.store.feed import Changes, Feed, Gap, Snapshot


@dataclass(frozen=True, slots=True)
class Listed:
    """Part of a snapshot."""

    agent: Agent


@dataclass(frozen=True, slots=True)
class SnapshotEnd:
    """The snapshot is complete; what follows is live."""

    count: int


@dataclass(frozen=True, slots=True)
class Changed:
    """A status or what the swarm can do changed."""

    agent: Agent


@dataclass(frozen=True, slots=True)
class Removed:
    """A swarm was deregistered."""

    swarm_id: str


@dataclass(frozen=True, slots=True)
class Said:
    """A text was sent to everyone."""

    broadcast: Broadcast


@dataclass(frozen=True, slots=True)
class Missed:
    """The cursor was too old: changes before `oldest` are gone, and a snapshot follows."""

    oldest: int


Event = Listed | SnapshotEnd | Changed | Removed | Said | Missed


@dataclass(frozen=True, slots=True)
class Batch:
    """Events that happened together; `cursor` is where the watch stands after them.

    It is None within a snapshot: one that was cut is started anew.
    """

    cursor: int | None
    events: tuple[Event, ...]


class StatusWatch:
    """Follows statuses for any number of watchers, each from its own cursor.

    `feed` follows the views of statuses, swarms and broadcasts; `see` adds to a status what
    a watcher is shown with it. That is of the moment when it is sent, also in history.
    """

    def __init__(self, feed: Feed, fleet: Fleet, see: Callable[[AgentStatus], Agent]) -> None:
        self._feed = feed
        self._fleet = fleet
        self._see = see

    async def follow(self, after: int | None) -> AsyncGenerator[Batch, None]:
        """Yield what happens after the cursor `after`, or a snapshot first if it is None.

        Runs until the caller stops. Raises the store's errors.
        """
        async for step in self._feed.follow(after):
            match step:
                case Snapshot():
                    for batch in self._snapshot(step):
                        yield batch
                        # A large fleet takes a while to list: let others have their turn.
                        await asyncio.sleep(0)
                case Changes():
                    events = tuple(self._events(step))
                    if events:
                        yield Batch(step.revision, events)
                case Gap():
                    yield Batch(None, (Missed(step.oldest),))

    def _snapshot(self, snapshot: Snapshot) -> Iterator[Batch]:
        entries = snapshot.entries.get(self._fleet.statuses.prefix, ())
        statuses = (entry.value for entry in entries if isinstance(entry.value, AgentStatus))
        while part := tuple(Listed(self._see(each)) for each in islice(statuses, MAX_TOGETHER)):
            yield Batch(None, part)
        yield Batch(snapshot.revision, (SnapshotEnd(len(entries)),))

    def _events(self, changes: Changes) -> Iterator[Event]:
        told = {each.id for each in changes.updates if each.prefix == self._fleet.statuses.prefix}
        for update in changes.updates:
            match update.value:
                case AgentStatus() as status:
                    yield Changed(self._see(status))
                case SwarmProfile(swarm_id=swarm_id) if swarm_id not in told:
                    known = self._fleet.statuses.entry(swarm_id)
                    # A status that changed later is still to be told, with all beside it.
                    if known is not None and known.mod_revision <= changes.revision:
                        yield Changed(self._see(known.value))
                case Broadcast() as broadcast:
                    yield Said(broadcast)
                case None if update.prefix == self._fleet.statuses.prefix:
                    yield Removed(update.id)
