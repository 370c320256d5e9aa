"""G8: what the policy says of matching for some tasks holds wherever a swarm is chosen for them."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from infrafabric_server.coordinator.models import Dispatch
from infrafabric_server.governor.policy.book import PolicyBook
from infrafabric_server.governor.policy.models import Policy
from infrafabric_server.governor.policy.verdicts import effective
from infrafabric_server.store.memory import MemoryStore
from tests.harness.fabric import Fabric, new_task, running_fabric

EASY = {"tasks": "easy-*", "matching": {"min_match": 0.5}}
COVERED = {"capability": "gpu:*", "matching": {"metric": "coverage"}}


@pytest.fixture
def policies() -> PolicyBook:
    """Return the policy of the fabric."""
    return PolicyBook()


@pytest.fixture
async def lenient(policies: PolicyBook) -> AsyncIterator[Fabric]:
    """Return a fabric that is lenient with easy tasks."""
    store = await MemoryStore.open()
    put_in_force(policies, EASY)
    async with running_fabric(store, policies=policies) as running:
        yield running
    await store.close()


def put_in_force(policies: PolicyBook, *overrides: dict[str, Any]) -> None:
    """Put a policy in force that overrides what is given."""
    policy = Policy.model_validate({"overrides": overrides})
    policies.install(effective(policy, f"{len(overrides)} overrides"))


async def owners(fabric: Fabric, *task_ids: str) -> list[str]:
    """Return who has tasks, once nothing more follows."""
    await fabric.settled()
    return [fabric.task(each).last_owner for each in task_ids]


async def test_g8_a_task_that_arrives_goes_to_whom_its_override_qualifies(lenient: Fabric) -> None:
    await lenient.join("s", {"go"}, slots=9)
    await lenient.create(new_task("hard-1", needs={"go", "sql"}))
    await lenient.create(new_task("easy-1", needs={"go", "sql"}))
    assert await owners(lenient, "hard-1", "easy-1") == ["", "s"]


async def test_g8_a_swarm_that_is_free_takes_what_overrides_qualify_it_for(
    lenient: Fabric,
) -> None:
    await lenient.create(
        new_task("hard-1", needs={"go", "sql"}),
        new_task("easy-1", needs={"go", "sql"}, priority=-1),
        new_task("plain", needs={"go"}, priority=-2),
    )
    await lenient.join("s", {"go"})
    assert await owners(lenient, "hard-1", "easy-1", "plain") == ["", "s", ""]


async def test_g8_assignment_by_hand_and_broadcasts_follow_the_override(lenient: Fabric) -> None:
    link = await lenient.join("s", {"go"}, slots=9)
    tasks = [f"{kind}-{n}" for kind in ("easy", "hard") for n in (1, 2)]
    await lenient.create(
        *(new_task(t, needs={"go", "sql"}, dispatch=Dispatch.MANUAL) for t in tasks)
    )
    for kind, offered in (("easy", 1), ("hard", 0)):
        broadcast = await lenient.coordinator.placing.broadcast(f"{kind}-1")
        assert broadcast.offered == offered
    await lenient.settled()
    assert set(link.offered) == {"easy-1"}
    for each in ("easy-2", "hard-2"):
        await lenient.coordinator.placing.assign(each)
    assert await owners(lenient, "easy-2", "hard-2") == ["s", ""]


async def test_g8_what_waits_is_sorted_by_the_policy_that_comes_into_force(
    lenient: Fabric, policies: PolicyBook
) -> None:
    link = await lenient.join("s", {"gpu:a", "go", "sql"}, slots=9)
    await lenient.create(
        new_task("auto", needs={"gpu:a"}),
        new_task("seen", needs={"gpu:a"}, dispatch=Dispatch.BROADCAST),
    )
    assert await owners(lenient, "auto") == [""]
    assert not link.offered
    put_in_force(policies, EASY, COVERED)
    assert await owners(lenient, "auto") == ["s"]
    assert set(link.offered) == {"seen"}
