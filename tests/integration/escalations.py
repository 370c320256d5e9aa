"""What wants a person, as a watch shows it."""

import asyncio
from collections.abc import Callable

from infrafabric import Client
from infrafabric.v1.escalation_pb2 import Escalation


async def changed(client: Client, holds: Callable[[Escalation], bool]) -> Escalation:
    """Return the first escalation that a watch shows for which `holds`."""
    async with asyncio.timeout(20):
        async for response in client.escalations.watch():
            for event in response.events:
                if event.HasField("changed") and holds(event.changed):
                    return event.changed
    raise AssertionError("the watch ended")
