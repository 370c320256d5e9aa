"""Blocked swarms and idle ones for the tests of help, and what they are told."""

from dataclasses import replace
from typing import Any

from infrafabric_server.coordinator.frames import HelpWanted
from infrafabric_server.coordinator.link import SessionLink
from infrafabric_server.coordinator.models import Dispatch
from infrafabric_server.errors import FabricError
from infrafabric_server.fleet.models import Status
from infrafabric_server.governor.budget.ports import Spent
from infrafabric_server.governor.help.models import Acceptance, HelpRequest, Wanted
from infrafabric_server.witness.models import Draft
from tests.harness.fabric import Fabric
from tests.harness.replicas import Cluster
from tests.unit.coordinator.money import DOLLAR, priced, stored

NEEDS = frozenset({"gpu", "cuda"})


async def blocked(
    fabric: Fabric, swarm_id: str = "asker", task_id: str = "t", cost: int = 2 * DOLLAR
) -> SessionLink:
    """Have a swarm hold a task that may cost so much; return its session."""
    link = await fabric.join(swarm_id, {"any"})
    await fabric.create((priced(task_id, cost), Dispatch.MANUAL))
    with link.claims(task_id):
        assert (await fabric.coordinator.claims.claim(swarm_id, task_id, link.epoch)).claimed
    return link


def wanted(swarm_id: str = "asker", task_id: str = "t", **said: Any) -> Wanted:
    """Return a call for help."""
    call = Wanted(swarm_id, task_id, 1, "no driver fits", NEEDS)
    return replace(call, **said)


async def asked(fabric: Fabric, swarm_id: str = "asker", **said: Any) -> HelpRequest:
    """Ask for help."""
    return await fabric.coordinator.help_requests.request(wanted(swarm_id, **said))


async def accept(fabric: Fabric, help_id: str, swarm_id: str) -> Acceptance:
    """Accept to help."""
    return await fabric.coordinator.help_requests.accept(help_id, swarm_id)


def cost(help_id: str, swarm_id: str, micros: int, operation: str = "llm") -> Spent:
    """Return what a helper has spent."""
    return Spent(swarm_id, operation, micros, help_id=help_id)


def seen(fabric: Fabric, help_id: str) -> HelpRequest:
    """Return a request as a replica sees it."""
    request = fabric.coordinator.help.get(help_id)
    assert request is not None
    return request


def status(fabric: Fabric, swarm_id: str) -> Status:
    """Return what a swarm is said to do."""
    found = fabric.fleet.statuses.get(swarm_id)
    assert found is not None
    return found.status


async def told(link: SessionLink) -> list[HelpRequest]:
    """Return what a session was told of requests for help since it was asked last."""
    if not link.waiting:
        return []
    frames, _ = await link.take(link.waiting)
    return [frame.help for frame in frames if isinstance(frame, HelpWanted)]


async def drafts(fabric: Fabric, operation: str) -> list[Draft]:
    """Return the witness entries of an operation, the oldest first."""
    found = [Draft.model_validate_json(kv.value) for kv in await stored(fabric.store, "outbox/")]
    return [each for each in found if each.operation == operation]


async def helpers(cluster: Cluster, *swarm_ids: str, at: str = "anna") -> dict[str, SessionLink]:
    """Open sessions of swarms that meet all needs; the first waits the longest."""
    links = {}
    for swarm_id in swarm_ids:
        links[swarm_id] = await cluster[at].fabric.join(swarm_id, {*NEEDS})
        await cluster.settled()
        await cluster.pass_time(0.001)
    return links


async def refused(work: Any) -> FabricError:
    """Return the refusal that some work comes to."""
    try:
        await work
    except FabricError as error:
        return error
    raise AssertionError("it was not refused")
