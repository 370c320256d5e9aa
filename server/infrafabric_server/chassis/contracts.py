"""Which swarms are loaded, with which module and under which contract."""

from collections.abc import Mapping

from infrafabric_server.chassis.contract import ServiceContract
from infrafabric_server.chassis.models import LoadedSwarm
from infrafabric_server.chassis.modules import Modules, unknown
from infrafabric_server.clock import Clock
from infrafabric_server.errors import FabricError, Reason
from infrafabric_server.fleet.fleet import Fleet
from infrafabric_server.store.mirror import Mirror, Write
from infrafabric_server.store.protocol import absent, present, unchanged
from infrafabric_server.witness.outbox import Outbox

COMPONENT = "chassis"

_MAX_TRIES = 16


class Contracts:
    """The loaded swarms of all replicas; each change is one transaction with its witness entry."""

    def __init__(
        self, mirror: Mirror, fleet: Fleet, modules: Modules, outbox: Outbox, clock: Clock
    ) -> None:
        self._mirror = mirror
        self._fleet = fleet
        self._modules = modules
        self._outbox = outbox
        self._clock = clock
        self.view = mirror.view("contracts/", LoadedSwarm)

    def of(self, swarm_id: str) -> LoadedSwarm:
        """Return what a swarm is loaded with. Raises SWARM_NOT_LOADED, SWARM_NOT_FOUND."""
        loaded = self.view.get(swarm_id)
        if swarm_id not in self._fleet.swarms:
            raise _no_swarm(swarm_id)
        if loaded is None:
            raise FabricError(
                Reason.SWARM_NOT_LOADED,
                f"swarm {swarm_id} has no module; load it first: infrafabric chassis load",
            )
        return loaded

    async def load(self, swarm_id: str, sha256: str, contract: ServiceContract) -> LoadedSwarm:
        """Give a swarm a stored module and a contract; the same ones again change nothing.

        Raises SWARM_NOT_FOUND, MODULE_NOT_FOUND, CONTENTION.
        """
        for _ in range(_MAX_TRIES):
            await self._mirror.catch_up()
            module, known = self._modules.stored(sha256), self.view.entry(swarm_id)
            if swarm_id not in self._fleet.swarms:
                raise _no_swarm(swarm_id)
            if module is None:
                raise unknown(sha256)
            now = self._clock.now()
            loaded = LoadedSwarm(
                swarm_id=swarm_id,
                module_sha256=sha256,
                size=module.value.size,
                kind=module.value.kind,
                contract=contract,
                load_time=now,
            )
            if known is not None and _same(known.value, loaded):
                return known.value
            writes: list[Write] = [
                self.view.put(swarm_id, loaded),
                self._modules.touched(module, now),
            ]
            compares = [
                present(self._fleet.swarms.key(swarm_id)),
                unchanged(module.key, module.mod_revision),
                unchanged(self.view.key(swarm_id), 0 if known is None else known.mod_revision),
            ]
            details = {
                "module_sha256": sha256,
                "kind": loaded.kind.value,
                "contract": contract.model_dump(mode="json"),
            }
            self._outbox.check()
            entry = self._outbox.draft(
                COMPONENT, "swarm_loaded", swarm_id=swarm_id, details=details
            )
            result = await self._mirror.commit(compares, [*writes, entry])
            if result.succeeded:
                return loaded
            await self._mirror.caught_up(result.revision)
        raise _contention(swarm_id)

    async def unload(self, swarm_id: str, *, gone: bool = False) -> bool:
        """Take module and contract from a swarm; tell whether it had them.

        With `gone`, only from a swarm that is not registered any more.
        """
        for _ in range(_MAX_TRIES):
            await self._mirror.catch_up()
            known = self.view.entry(swarm_id)
            if known is None:
                return False
            compares = [unchanged(known.key, known.mod_revision)]
            if gone:
                if swarm_id in self._fleet.swarms:
                    return False
                compares.append(absent(self._fleet.swarms.key(swarm_id)))
            self._outbox.check()
            entry = self._outbox.draft(
                COMPONENT,
                "swarm_unloaded",
                swarm_id=swarm_id,
                details={"module_sha256": known.value.module_sha256, "deregistered": gone},
            )
            result = await self._mirror.commit(compares, [self.view.delete(swarm_id), entry])
            if result.succeeded:
                return True
            await self._mirror.caught_up(result.revision)
        raise _contention(swarm_id)

    def promised(self, swarm_id: str) -> Mapping[str, object]:
        """Return the service level that the contract of a swarm promises, by field; {} for none."""
        loaded = self.view.get(swarm_id)
        return {} if loaded is None else loaded.contract.slo.model_dump(exclude_none=True)

    def page(self, after: str, limit: int) -> list[LoadedSwarm]:
        """Return loaded swarms by id, after an id."""
        return [entry.value for entry in self.view.page(after, limit)]


def _same(one: LoadedSwarm, other: LoadedSwarm) -> bool:
    return one.model_copy(update={"load_time": other.load_time}) == other


def _no_swarm(swarm_id: str) -> FabricError:
    return FabricError(Reason.SWARM_NOT_FOUND, f"no swarm has the id {swarm_id}; register it first")


def _contention(swarm_id: str) -> FabricError:
    return FabricError(
        Reason.CONTENTION, f"swarm {swarm_id} changes too fast; try again", retry_after=0.1
    )
