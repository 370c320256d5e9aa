"""Tells a person that a fabric which is watched has gone away, and that it is back."""

import asyncio
from collections.abc import Awaitable, Callable

from infrafabric.errors import FabricError
from infrafabric_cli.output import complain


class Outages:
    """The waits of a client between two attempts of a watch, which itself goes on in silence.

    An outage is told once, on standard error: standard output has events only. A cut after which
    the fabric answers at once, at this server or at another, is none.

    Args:
        server: the fabric, as the person named it.
        sleep: waits for some seconds.
    """

    def __init__(
        self, server: str, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self._server = server
        self._sleep = sleep
        self._away = False

    async def wait(self, seconds: float, ask: Callable[[], Awaitable[None]]) -> None:
        """Wait, then tell a person if the fabric has gone away or come back since the last time.

        Args:
            seconds: how long.
            ask: asks the fabric for anything; raises FabricError when there is no answer.
        """
        await self._sleep(seconds)
        try:
            await ask()
        except FabricError as error:
            if not self._away:
                complain(f"no answer from {self._server}: {error.message}")
                complain("It is asked again until it answers; Ctrl-C ends this.")
            self._away = True
        else:
            if self._away:
                complain(f"{self._server} answers again")
            self._away = False
