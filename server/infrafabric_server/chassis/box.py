"""The port to the sandbox: where foreign code is compiled and run, out of this process."""

from collections.abc import Awaitable, Callable
from typing import Protocol

from infrafabric_server.chassis.models import LoadedSwarm, ModuleKind
from infrafabric_server.chassis.sandbox.host import HostCalls
from infrafabric_server.chassis.sandbox.messages import Layer
from infrafabric_server.chassis.sandbox.outcome import Outcome

# Brings the bytes of a module, when they are needed.
Fetch = Callable[[], Awaitable[bytes]]


class Box(Protocol):
    """Compiles and runs modules in processes of their own."""

    async def layers(self) -> tuple[Layer, ...]:
        """Return the layers of the sandbox, as a worker of this machine has found them.

        Raises CHASSIS_CLOSED when no worker can be started.
        """
        ...

    async def compile(self, module: bytes) -> ModuleKind:
        """Compile a module. Raises MODULE_REFUSED, CHASSIS_CLOSED."""
        ...

    async def run(
        self, loaded: LoadedSwarm, fetch: Fetch, given: bytes, host: HostCalls
    ) -> Outcome:
        """Run the module of a swarm once, at most one at a time for each swarm.

        Cancelled, it ends the run at once.

        Args:
            loaded: the swarm with its contract.
            fetch: brings the module, if it was not compiled here before.
            given: what the guest reads.
            host: does its host calls.

        Raises:
            FabricError: MODULE_REFUSED, CHASSIS_CLOSED.
        """
        ...
