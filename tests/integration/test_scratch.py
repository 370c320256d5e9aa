"""X3, C10: what an attempt keeps is there for the next, whatever became of its server."""

import pytest
from google.protobuf.duration_pb2 import Duration

from infrafabric import Client
from infrafabric.v1.chassis_contract_pb2 import ResourceLimits
from infrafabric.v1.chassis_execution_pb2 import (
    VIOLATION_KIND_API_CALLS,
    VIOLATION_KIND_API_DENIED,
)
from infrafabric.v1.task_pb2 import TASK_STATE_COMPLETED, TASK_STATE_FAILED, RetryPolicy, Task
from infrafabric.values import from_struct, to_struct
from tests.harness.server import ServerProcess
from tests.integration.guests import COUNTING
from tests.integration.test_chassis import contract, reaches, state

FAST = RetryPolicy(max_attempts=2, initial_backoff=Duration(nanos=10_000_000))


async def begin(client: Client, name: str, do: str, *calls: str, rate: int = 100) -> None:
    """Load the swarm `name`, and have it do the task `name`."""
    await client.swarms.register(name, ["wasm"])
    limits = ResourceLimits(max_api_calls_per_second=rate)
    await client.chassis.load(name, COUNTING, contract(*calls, limits=limits))
    task = Task(task_id=name, chassis_swarm_id=name, input=to_struct({"do": do}))
    task.retry_policy.CopyFrom(FAST)
    await client.tasks.create(task)


completed, failed = state(TASK_STATE_COMPLETED), state(TASK_STATE_FAILED)


def kept(task: Task) -> bool:
    return task.milestone_note == "kept"


async def test_x3_an_attempt_goes_on_where_the_one_before_failed(
    server: ServerProcess, client: Client
) -> None:
    del server
    await begin(client, "fails", "x", "kv", "progress")
    done = await reaches(client, "fails", completed)
    assert (done.attempt, done.failures) == (2, 1)
    assert from_struct(done.result) == {"attempts": "2"}
    # Another task of the same swarm has a space of its own.
    other = Task(task_id="fails-2", chassis_swarm_id="fails", input=to_struct({"do": "e"}))
    await client.tasks.create(other)
    done = await reaches(client, "fails-2", completed)
    assert from_struct(done.result) == {"attempts": "1"}
    # What belongs to no claim has none.
    outside = await client.chassis.execute("fails", "fails-2", {"do": "e"})
    assert from_struct(outside.result) == {"do": "e"}


@pytest.mark.parametrize("server", ["1"], indirect=True)
async def test_x3_c10_an_attempt_goes_on_where_a_killed_server_was(
    server: ServerProcess, client: Client
) -> None:
    await begin(client, "lost", "l", "kv", "progress")
    await reaches(client, "lost", kept)
    await server.kill()
    await server.start()
    done = await reaches(client, "lost", completed)
    assert (done.attempt, done.failures) == (2, 0)
    assert from_struct(done.result) == {"attempts": "2"}


async def test_x2_x3_it_takes_a_grant_and_counts_as_a_call(
    server: ServerProcess, client: Client
) -> None:
    del server
    await begin(client, "denied", "e", "progress")
    assert "api_denied" in (await reaches(client, "denied", failed)).reason
    await begin(client, "greedy", "m", "kv", "progress", rate=20)
    # The second attempt has nothing left to do.
    assert (await reaches(client, "greedy", completed)).failures == 1
    for name, kind in (
        ("denied", VIOLATION_KIND_API_DENIED),
        ("greedy", VIOLATION_KIND_API_CALLS),
    ):
        known = await client.chassis.violations(name)
        assert {each.kind for each in known.violations} == {kind}
