"""A bus within one process: for the only replica, and for several of them in a test."""

import asyncio

from infrafabric_server.bus.listeners import Listeners
from infrafabric_server.bus.protocol import Counts, Listener


class Hub:
    """What the ends of one bus have in common."""

    def __init__(self) -> None:
        self.ends: list[LocalBus] = []


class LocalBus:
    """One end of a Hub; see Bus."""

    def __init__(self, hub: Hub) -> None:
        self.counts = Counts(connections=1)
        self._hub = hub
        self._listeners = Listeners(self.counts)
        hub.ends.append(self)

    @property
    def connected(self) -> bool:
        """See Bus."""
        return self in self._hub.ends

    def publish(self, subject: str, payload: bytes) -> None:
        """See Bus."""
        if not self.connected:
            self.counts.dropped += 1
            return
        self.counts.sent += 1
        loop = asyncio.get_running_loop()
        for end in self._hub.ends:
            if end is not self:
                loop.call_soon(end.deliver, subject, payload)

    def subscribe(self, subject: str, listener: Listener) -> None:
        """See Bus."""
        self._listeners.add(subject, listener)

    def deliver(self, subject: str, payload: bytes) -> None:
        """Hand a message of another end to those who listen here."""
        if self.connected:
            self._listeners.hand(subject, payload)

    async def close(self) -> None:
        """See Bus."""
        if self.connected:
            self._hub.ends.remove(self)
