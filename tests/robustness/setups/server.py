"""A server behind proxies, which somebody starts again whenever it is down."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.harness.proxy import Proxy
from tests.harness.server import ServerFailedError, ServerProcess
from tests.robustness.history import Recorder

# A server whose disk is full or whose store is away may refuse to start: it is started again,
# as a supervisor would, for at most so long.
_REVIVAL = 90.0
_PAUSE = 0.5
_LOOK = 0.1

# Short, so that a run of seconds sees leases, claims and acknowledgements run out.
TIMES = {
    "INFRAFABRIC_LEASE_SECONDS": "3",
    "INFRAFABRIC_CLAIM_TTL_SECONDS": "4",
    "INFRAFABRIC_ACK_SECONDS": "1.5",
    "INFRAFABRIC_ESCALATE_SECONDS": "2",
    "INFRAFABRIC_DRAIN_SECONDS": "2",
    "INFRAFABRIC_POLICY": str(Path(__file__).with_name("policy.yaml")),
}


class Server:
    """One server; its clients come through `grpc` and `http`, proxies that faults can spoil.

    Args:
        name: in the history.
        process: the server.
        recorder: told when it dies by itself or ends badly.
    """

    def __init__(self, name: str, process: ServerProcess, recorder: Recorder) -> None:
        self.name = name
        self.process = process
        self.grpc = Proxy("127.0.0.1:0")
        self.http = Proxy("127.0.0.1:0")
        self._recorder = recorder
        self._stack = AsyncExitStack()
        self._wanted = False
        self._changing = asyncio.Lock()
        self._guard: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self.process)
        await self._stack.enter_async_context(self.grpc)
        await self._stack.enter_async_context(self.http)
        self._connect()
        self._guard = asyncio.create_task(self._watch_over(), name=f"guard of {self.name}")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._guard is not None
        self._wanted = False
        self._guard.cancel()
        await asyncio.gather(self._guard, return_exceptions=True)
        await self._stack.aclose()

    @property
    def data(self) -> Path:
        """Where its data is."""
        return self.process.data

    async def kill(self) -> None:
        """End it as a crash does."""
        async with self._changing:
            self._wanted = False
            if self.process.running:
                await self.process.kill()

    async def drain(self) -> None:
        """Ask it to end, and wait until it has; note it when it did not end well."""
        async with self._changing:
            self._wanted = False
            if not self.process.running:
                return
            try:
                code = await self.process.stop()
            except ServerFailedError as error:
                self._ended_badly(str(error))
                return
            if code:
                self._ended_badly(f"exit code {code}; its log ends:\n{self.process.log[-4000:]}")

    async def revive(self) -> None:
        """Start it if it is down, again and again while it refuses; note it if it never does."""
        async with self._changing:
            give_up = asyncio.get_running_loop().time() + _REVIVAL
            while not self.process.running:
                try:
                    await self.process.start()
                except ServerFailedError as error:
                    if asyncio.get_running_loop().time() > give_up:
                        self._recorder.see(self.name, "unavailable", why=str(error)[-4000:])
                        return
                    self._recorder.see(self.name, "start-refused", why=str(error)[-600:])
                    await asyncio.sleep(_PAUSE)
            self._connect()

    def pause(self) -> None:
        """Freeze it, if it runs."""
        if self.process.running:
            self.process.pause()

    def resume(self) -> None:
        """Let it go on, if it runs."""
        if self.process.running:
            self.process.resume()

    def _connect(self) -> None:
        self.grpc.target, self.http.target = self.process.grpc, self.process.http
        self._wanted = True

    def _ended_badly(self, why: str) -> None:
        self._recorder.see(self.name, "server-ended-badly", why=why)

    async def _watch_over(self) -> None:
        while True:
            await asyncio.sleep(_LOOK)
            if self._wanted and not self.process.running:
                self._wanted = False
                self._recorder.see(self.name, "server-died", why=self.process.log[-4000:])
                await self.revive()
