"""IFChassis: who is loaded with what, and runs of it for whoever asks."""

import asyncio
from functools import partial

from infrafabric_server.chassis.box import Box
from infrafabric_server.chassis.contract import HTTP, KNOWN_CALLS, ResourceLimits, ServiceContract
from infrafabric_server.chassis.contracts import Contracts
from infrafabric_server.chassis.credentials.rules import beyond
from infrafabric_server.chassis.halts import Halts
from infrafabric_server.chassis.hosts import GuestHost
from infrafabric_server.chassis.models import Execution, LoadedSwarm, StoredModule, ViolationRing
from infrafabric_server.chassis.modules import Modules, digest_of
from infrafabric_server.chassis.ports import Wanted
from infrafabric_server.chassis.recorder import Recorder, Run
from infrafabric_server.chassis.runs import Runs
from infrafabric_server.chassis.turns import Turns
from infrafabric_server.clock import Clock
from infrafabric_server.coordinator.background import Background
from infrafabric_server.errors import FabricError, FieldViolation, InvalidField, Reason
from infrafabric_server.governor.policy.book import PolicyBook


class Chassis:
    """The use cases of the chassis; see IFChassis."""

    def __init__(
        self,
        modules: Modules,
        contracts: Contracts,
        box: Box,
        runs: Runs,
        turns: Turns,
        recorder: Recorder,
        halts: Halts,
        background: Background,
        policies: PolicyBook,
        clock: Clock,
    ) -> None:
        self.modules = modules
        self.contracts = contracts
        self._box = box
        self._runs = runs
        self._turns = turns
        self._recorder = recorder
        self._halts = halts
        self._background = background
        self._policies = policies
        self._clock = clock

    async def upload(self, module: bytes, swarm_id: str = "") -> StoredModule:
        """Compile a module and store it, for a swarm if one is named.

        Raises MODULE_REFUSED, LIMIT_REACHED, CHASSIS_CLOSED.
        """
        self.modules.check_size(len(module))
        await self._runs.check()
        try:
            kind = await self._box.compile(module)
        except FabricError as error:
            if error.reason is Reason.MODULE_REFUSED:
                sha256 = await digest_of(module)
                record = self._recorder.refused(swarm_id, sha256, len(module), error.message)
                await self._background.finish(record)
            raise
        return await self._background.finish(self.modules.put(module, kind))

    async def load_swarm(self, swarm_id: str, module: bytes | str, contract: Wanted) -> LoadedSwarm:
        """See IFChassis."""
        agreed = self._agreed(contract)
        if isinstance(module, bytes):
            sha256 = (await self.upload(module, swarm_id)).sha256
        else:
            sha256 = module
            await self._runs.check()
        return await self._background.finish(self.contracts.load(swarm_id, sha256, agreed))

    async def unload_swarm(self, swarm_id: str) -> bool:
        """Take module and contract from a swarm; tell whether it had them."""
        return await self._background.finish(self.contracts.unload(swarm_id))

    async def execute_task(self, swarm_id: str, task_id: str, input_json: str) -> Execution:
        """See IFChassis."""
        loaded = self.contracts.of(swarm_id)
        self._halts.check(swarm_id)
        await self._runs.check()
        async with self._turns.turn(swarm_id):
            self._halts.check(swarm_id)
            begun = self._clock.now()
            host = GuestHost(loaded, task_id)
            work = self._runs.run(loaded, task_id, input_json, host)
            try:
                execution = await self._halts.run(swarm_id, work)
            except (asyncio.CancelledError, FabricError) as error:
                gone = "the call was cancelled, or its deadline passed"
                why = error.message if isinstance(error, FabricError) else gone
                self._cut(Run(loaded, task_id, 0, begun, Execution(succeeded=False)), why)
                raise
        run = Run(loaded, task_id, 0, begun, execution)
        await self._background.finish(self._recorder.count(run))
        return execution

    def _cut(self, run: Run, why: str) -> None:
        """Have it written down that a run was cut off, though nobody waits for it any more."""
        self._background.spawn(f"cut:{run.task_id}", partial(self._recorder.cut, run, why))

    def latest_violations(self, swarm_id: str) -> ViolationRing:
        """Return the latest limits that runs of a swarm went beyond."""
        return self._recorder.latest(swarm_id)

    def _agreed(self, wanted: Wanted) -> ServiceContract:
        unknown = sorted(wanted.allowed_calls - KNOWN_CALLS)
        if unknown:
            rule = f"must be of {', '.join(sorted(KNOWN_CALLS))}; {unknown[0]} is no host call"
            raise InvalidField(FieldViolation("contract.allowed_calls", rule))
        if wanted.endpoints and HTTP not in wanted.allowed_calls:
            rule = f"must be empty unless {HTTP} is among the allowed calls"
            raise InvalidField(FieldViolation("contract.endpoints", rule))
        current = self._policies.current
        most = current.policy.chassis
        refused = beyond(wanted.endpoints, most, current.hash, "contract.endpoints")
        if refused:
            raise InvalidField(*refused)
        return ServiceContract(
            limits=ResourceLimits.within(wanted.limits, most, current.hash),
            slo=wanted.slo,
            allowed_calls=wanted.allowed_calls,
            endpoints=wanted.endpoints,
            version=wanted.version,
        )
