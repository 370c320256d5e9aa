"""Removes what nobody needs: unused modules, what belongs to swarms, claims and tasks gone."""

from datetime import timedelta

from infrafabric_server.chassis.contracts import Contracts
from infrafabric_server.chassis.credentials.credentials import Credentials
from infrafabric_server.chassis.models import ModuleState
from infrafabric_server.chassis.modules import Modules
from infrafabric_server.chassis.recorder import Recorder
from infrafabric_server.chassis.scratch.scratch import Scratch
from infrafabric_server.clock import Clock
from infrafabric_server.fleet.fleet import Fleet
from infrafabric_server.fleet.rounds import Rounds

# Long enough to load a swarm with what was uploaded for it, or to load it anew.
KEEP_UNUSED = timedelta(hours=1)
_LOOK_SECONDS = 60.0


class Upkeep:
    """Looks again and again, while this process leads; `run` is owned by `while_leading`."""

    def __init__(
        self,
        modules: Modules,
        contracts: Contracts,
        recorder: Recorder,
        credentials: Credentials,
        scratch: Scratch,
        fleet: Fleet,
        clock: Clock,
    ) -> None:
        self._modules = modules
        self._contracts = contracts
        self._recorder = recorder
        self._credentials = credentials
        self._scratch = scratch
        self._fleet = fleet
        self._clock = clock
        self.run = Rounds(self.look, failed="chassis_upkeep_failed").run

    async def look(self) -> float:
        """Remove what nobody needs now; return the seconds to the next look."""
        swarms = self._fleet.swarms
        for swarm_id in [each for each in self._contracts.view if each not in swarms]:
            await self._contracts.unload(swarm_id, gone=True)
        for swarm_id in [each for each in self._recorder.rings if each not in swarms]:
            await self._recorder.forget(swarm_id)
        await self._credentials.sweep()
        await self._scratch.sweep()
        named = {loaded.module_sha256 for _, loaded in self._contracts.view.items()}
        before = self._clock.now() - KEEP_UNUSED
        for entry in list(self._modules.view.entries()):
            head = entry.value
            leaving = head.state is ModuleState.REMOVING or head.use_time < before
            if leaving and head.sha256 not in named:
                await self._modules.remove(entry)
        return _LOOK_SECONDS
