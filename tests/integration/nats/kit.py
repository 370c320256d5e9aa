"""What the tests of the bus on NATS share."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

from structlog.testing import capture_logs
from structlog.typing import EventDict

from infrafabric_server.bus.address import NatsAccess
from infrafabric_server.bus.nats import NatsBus
from tests.harness.bus import Heard, acquainted, opened

T = TypeVar("T")


def over_tls(address: str) -> str:
    """Return the same address, over TLS."""
    return address.replace("nats://", "tls://")


async def check_talks(address: str, access: NatsAccess | None = None) -> None:
    """Assert that one end hears another."""
    async with opened(address, access) as first, opened(address, access) as second:
        await acquainted(first, Heard(second, "s"), subject="s")


async def refusal(address: str, access: NatsAccess | None = None) -> str:
    """Return the reason in the first log entry of an attempt that fails."""
    async with watched(address, access) as (bus, logs):
        reason = await first_reason(logs)
        assert not bus.connected
    return reason


@asynccontextmanager
async def watched(
    address: str, access: NatsAccess | None = None
) -> AsyncIterator[tuple[NatsBus, Sequence[EventDict]]]:
    """Open an end, and catch what it logs; it may not be connected."""
    with capture_logs() as logs:
        bus = await NatsBus.open(address, access, chance=lambda: 0.0)
        try:
            yield bus, logs
        finally:
            await bus.close()


async def first_reason(logs: Sequence[EventDict]) -> str:
    """Return the reason of the first failure in the logs, as soon as there is one."""
    return str((await found(lambda: _failures(logs)))[0]["reason"])


async def found(look: Callable[[], T | None]) -> T:
    """Return what `look` returns, as soon as that is something."""
    async with asyncio.timeout(20):
        while not (thing := look()):
            await asyncio.to_thread(time.sleep, 0.01)
    return thing


def _failures(logs: Sequence[EventDict]) -> list[EventDict]:
    return [log for log in logs if log["event"] == "bus_failed"]
