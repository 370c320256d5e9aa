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

    Attributes:
        reason: why there is no answer, for people; empty when there was one the last time.
        aloud: whether standard error is told; a screen shows the reason itself.
    """

    def __init__(
        self, server: str, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self.reason = ""
        self.aloud = True
        self._server = server
        self._sleep = sleep

    async def wait(self, seconds: float, ask: Callable[[], Awaitable[None]]) -> None:
        """Wait, then tell a person if the fabric has gone away or come back since the last time.

        Args:
            seconds: how long.
            ask: asks the fabric for anything; raises FabricError when there is no answer.
        """
        await self._sleep(seconds)
        before = self.reason
        try:
            await ask()
            self.reason = ""
        except FabricError as error:
            self.reason = f"no answer from {self._server}: {error.message}"
        if self.aloud and bool(before) is not bool(self.reason):
            self._tell()

    def _tell(self) -> None:
        if self.reason:
            complain(self.reason)
            complain("It is asked again until it answers; Ctrl-C ends this.")
        else:
            complain(f"{self._server} answers again")
