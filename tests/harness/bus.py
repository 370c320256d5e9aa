"""What the tests of a bus share."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count

from infrafabric_server.bus.address import NatsAccess
from infrafabric_server.bus.nats import NatsBus
from infrafabric_server.bus.protocol import Bus


@asynccontextmanager
async def opened(address: str, access: NatsAccess | None = None) -> AsyncIterator[NatsBus]:
    """Open an end that is connected."""
    bus = await NatsBus.open(address, access)
    try:
        async with asyncio.timeout(10):
            await bus.ready()
        yield bus
    finally:
        await bus.close()


class Heard:
    """What came of a subject, in order."""

    def __init__(self, bus: Bus, subject: str) -> None:
        self.messages: list[bytes] = []
        self._more = asyncio.Event()
        bus.subscribe(subject, self._take)

    def _take(self, message: bytes) -> None:
        self.messages.append(message)
        self._more.set()

    async def until(self, last: bytes) -> list[bytes]:
        """Return all messages when `last` has come."""
        async with asyncio.timeout(20):
            while last not in self.messages:
                self._more.clear()
                await self._more.wait()
        return self.messages


async def acquainted(sender: Bus, *heard: Heard, subject: str) -> None:
    """Return when everyone hears the sender: a subscription takes a moment to get around."""
    numbers = count()
    async with asyncio.timeout(20):
        while not all(each.messages for each in heard):
            sender.publish(subject, b"hello %d" % next(numbers))
            await asyncio.sleep(0.01)
    last = b"hello %d" % next(numbers)
    sender.publish(subject, last)
    for each in heard:
        await each.until(last)
        each.messages.clear()
