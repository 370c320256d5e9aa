"""What a replica has to do with the other ones of its fabric."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Self

from infrafabric_server.bus.protocol import Bus
from infrafabric_server.clock import Clock
from infrafabric_server.fleet.leadership import ElectedLeader, Leadership, SoleLeader
from infrafabric_server.fleet.news import News
from infrafabric_server.fleet.presence import Presence, ReplicaPolicy
from infrafabric_server.fleet.timekeeping import FabricClock, Timekeeper
from infrafabric_server.store.mirror import Mirror
from infrafabric_server.store.protocol import Store


@dataclass(frozen=True, slots=True)
class Replicas:
    """One replica's place among all: whether it leads, what time it is, and who else is there.

    Made by `alone` or `among`, before the mirror starts; own `run`.
    """

    clock: Clock
    leadership: Leadership
    present: Presence | None = None
    works: Sequence[Callable[[], Awaitable[None]]] = ()

    @classmethod
    def alone(cls, clock: Clock) -> Self:
        """Return the place of the only process, which goes by its own clock."""
        return cls(clock, SoleLeader())

    @classmethod
    def among(
        cls,
        store: Store,
        mirror: Mirror,
        bus: Bus,
        clock: Clock,
        *,
        replica: str,
        subject: str,
        policy: Callable[[], ReplicaPolicy],
    ) -> Self:
        """Return the place of `replica` among those on the same store.

        They tell each other of their commits and of the time on two subjects below `subject`, and
        in the store which `policy` they go by.
        """
        time = FabricClock(clock)
        presence = Presence(store, mirror, time, replica, policy=policy)
        leader = ElectedLeader(store, mirror, time, replica)
        news = News(mirror, partial(bus.publish, f"{subject}.news"))
        bus.subscribe(f"{subject}.news", news.hear)
        timekeeper = Timekeeper(time, leader, partial(bus.publish, f"{subject}.time"))
        bus.subscribe(f"{subject}.time", timekeeper.hear)
        return cls(time, leader, presence, (presence.run, leader.run, timekeeper.run, news.run))

    async def run(self) -> None:
        """Take part until cancelled; a leader then steps down."""
        async with asyncio.TaskGroup() as group:
            for work in self.works:
                group.create_task(_run(work))
            await asyncio.get_running_loop().create_future()


async def _run(work: Callable[[], Awaitable[None]]) -> None:
    await work()
