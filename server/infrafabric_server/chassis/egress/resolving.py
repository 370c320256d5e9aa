"""Looking up the addresses of a host, without holding up anything else of the service."""

import asyncio
import contextlib
import ipaddress
import socket
import threading
from collections.abc import Sequence

from infrafabric_server.chassis.egress.addresses import Address

# Look-ups at a time. One of a server that does not answer takes half a minute, whoever waits.
_AT_A_TIME = 16


class Resolver:
    """Asks the system's resolver, in threads of its own that nobody waits for at the end."""

    def __init__(self) -> None:
        self._room = asyncio.Semaphore(_AT_A_TIME)

    async def resolve(self, host: str) -> Sequence[Address]:
        """Return the addresses of a host, the best first. Raises OSError."""
        await self._room.acquire()
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[list[Address]] = loop.create_future()

        def settle(found: list[Address], error: OSError | None) -> None:
            self._room.release()
            if answer.done():
                return
            if error is not None:
                answer.set_exception(error)
            else:
                answer.set_result(found)

        def look_up() -> None:
            found, failure = list[Address](), None
            try:
                rows = socket.getaddrinfo(
                    host, None, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
                )
                found = list(dict.fromkeys(ipaddress.ip_address(row[4][0]) for row in rows))
            except (OSError, ValueError, UnicodeError) as error:
                failure = OSError(str(error))
            with contextlib.suppress(RuntimeError):
                # The loop may have ended meanwhile.
                loop.call_soon_threadsafe(settle, found, failure)

        threading.Thread(target=look_up, name="resolve", daemon=True).start()
        return await answer
