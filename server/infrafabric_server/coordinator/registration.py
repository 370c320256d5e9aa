"""Registrations: how a swarm becomes known, changes and is forgotten."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from infrafabric_server.coordinator.capacity import Capacity
from infrafabric_server.coordinator.claims import Claims
from infrafabric_server.coordinator.models import LossKind
from infrafabric_server.coordinator.records import MAX_TRIES, Fact, Records
from infrafabric_server.coordinator.slots import Slots
from infrafabric_server.errors import FabricError, Reason
from infrafabric_server.fleet.models import FormerSwarm, SwarmProfile
from infrafabric_server.limits import MAX_SWARMS
from infrafabric_server.store.mirror import Entry, View, Write
from infrafabric_server.store.protocol import absent, unchanged

_FIELDS = (
    "capabilities",
    "cost_per_hour_micros",
    "model",
    "max_concurrent_tasks",
    "credential_pool",
)


@dataclass(frozen=True, slots=True)
class Joining:
    """What a swarm says of itself; None leaves what is known."""

    swarm_id: str
    capabilities: frozenset[str] | None = None
    cost_per_hour_micros: int | None = None
    model: str | None = None
    max_concurrent_tasks: int | None = None
    credential_pool: str | None = None


def registered(known: Entry[SwarmProfile] | None, joining: Joining, now: datetime) -> SwarmProfile:
    """Return the registration that follows from what is known and what the swarm says.

    Raises pydantic.ValidationError when what it says breaks a rule.
    """
    named = {name: getattr(joining, name) for name in _FIELDS}
    said = {name: value for name, value in named.items() if value is not None}
    if known is None:
        return SwarmProfile.model_validate(
            said | {"swarm_id": joining.swarm_id, "create_time": now, "update_time": now}
        )
    profile = known.value
    if all(getattr(profile, name) == value for name, value in said.items()):
        return profile
    return SwarmProfile.model_validate(dict(profile) | said | {"update_time": now})


def check_room(swarms: View[SwarmProfile], swarm_id: str) -> None:
    """Raise LIMIT_REACHED if a swarm is not known and no further one may be."""
    if swarm_id not in swarms and len(swarms) >= MAX_SWARMS:
        raise FabricError(Reason.LIMIT_REACHED, f"the fabric holds at most {MAX_SWARMS} swarms")


def registration_fact(profile: SwarmProfile) -> Fact:
    """Return the witness entry of a registration."""
    details: dict[str, object] = {
        "capabilities": sorted(profile.capabilities),
        "cost_per_hour_micros": profile.cost_per_hour_micros,
        "max_concurrent_tasks": profile.max_concurrent_tasks,
    }
    if profile.credential_pool:
        details["credential_pool"] = profile.credential_pool
    return Fact("swarm_registered", profile.swarm_id, details=details)


class Registration:
    """The use cases of joining and leaving the fleet."""

    def __init__(self, records: Records, capacity: Capacity, claims: Claims, slots: Slots) -> None:
        self._records = records
        self._slots = slots
        self._capacity = capacity
        self._claims = claims

    async def register(self, joining: Joining) -> SwarmProfile:
        """Make a swarm known or bring its registration up to date; a repeat changes nothing.

        Raises LIMIT_REACHED, CONTENTION.
        """
        swarms = self._records.fleet.swarms
        looked = False
        for _ in range(MAX_TRIES):
            known = swarms.entry(joining.swarm_id)
            check_room(swarms, joining.swarm_id)
            profile = registered(known, joining, self._records.clock.now())
            if known is not None and profile == known.value:
                # It may have been forgotten or changed elsewhere.
                if not looked and await self._records.mirror.catch_up():
                    looked = True
                    continue
                return profile
            seen = known.mod_revision if known is not None else 0
            result = await self._records.commit(
                [unchanged(swarms.key(joining.swarm_id), seen)],
                [swarms.put(joining.swarm_id, profile)],
                [registration_fact(profile)],
            )
            if result.succeeded:
                return profile
        raise _contention(joining.swarm_id)

    async def introduce(self, joining: Joining, first: Write, *more: Write) -> bool:
        """Make a swarm known that is not; write `first`, which is new, and `more` with it.

        Returns False, with nothing written, if it is known already. Raises LIMIT_REACHED.
        """
        swarms = self._records.fleet.swarms
        check_room(swarms, joining.swarm_id)
        profile = registered(None, joining, self._records.clock.now())
        result = await self._records.commit(
            [absent(swarms.key(joining.swarm_id)), absent(first.key)],
            [swarms.put(joining.swarm_id, profile), first, *more],
            [registration_fact(profile)],
        )
        return result.succeeded

    async def deregister(self, swarm_id: str) -> list[str]:
        """Forget a swarm: its session ends and its tasks go back; return their ids, sorted.

        Raises SWARM_NOT_FOUND, CONTENTION.
        """
        fleet = self._records.fleet
        for _ in range(MAX_TRIES):
            known = fleet.swarms.entry(swarm_id)
            if known is None:
                raise FabricError(Reason.SWARM_NOT_FOUND, f"no swarm has the id {swarm_id}")
            result = await self._records.commit(
                [unchanged(known.key, known.mod_revision), *self._slots.unseen(swarm_id)],
                [
                    fleet.swarms.delete(swarm_id),
                    fleet.sessions.delete(swarm_id),
                    fleet.former.put(swarm_id, FormerSwarm(leave_time=self._records.clock.now())),
                    *self._slots.forget(swarm_id),
                ],
                [Fact("swarm_deregistered", swarm_id)],
            )
            if result.succeeded:
                # All that follows comes from `Reactions` too, if this call is cut off.
                return await self._give_back(swarm_id, self._held(swarm_id))
        raise _contention(swarm_id)

    async def _give_back(self, swarm_id: str, held: Mapping[str, int]) -> list[str]:
        for task_id, attempt in held.items():
            await self._claims.lose(swarm_id, task_id, attempt, LossKind.DEREGISTERED)
        found = {task_id: self._records.tasks.get(task_id) for task_id in held}
        return sorted(
            task_id for task_id, task in found.items() if task is not None and not task.state.ended
        )

    def _held(self, swarm_id: str) -> dict[str, int]:
        found = (self._records.tasks.get(name) for name in self._capacity.holdings(swarm_id))
        return {task.task_id: task.attempt for task in found if task is not None}


def _contention(swarm_id: str) -> FabricError:
    return FabricError(
        Reason.CONTENTION, f"swarm {swarm_id} changes too fast; try again", retry_after=0.1
    )
