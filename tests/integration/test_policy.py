"""G8: a policy is checked, comes into force without a restart, and is named by what it decided."""

import asyncio
import os
import signal
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from infrafabric import Client
from infrafabric.errors import InvalidField
from infrafabric.v1.coordinator_claim_pb2 import ClaimTaskResponse
from infrafabric.v1.governor_policy_pb2 import GetPolicyResponse
from infrafabric.v1.task_pb2 import (
    CLAIM_REFUSAL_POLICY,
    DISPATCH_MANUAL,
    TASK_STATE_CLAIMED,
    Task,
)
from infrafabric.v1.witness_service_pb2 import QueryEntriesRequest
from infrafabric.values import from_struct
from infrafabric_cli.exit_codes import ExitCode
from infrafabric_cli.main import app
from tests.harness.server import COMMAND, ServerProcess
from tests.integration.commands import commands, document
from tests.integration.python_sessions import worker

RULE = "rules:\n- {{name: not-{0}, when: task.priority == {0}, deny: not {0} now}}\n"
# Of all reloads of the test, half put each of them in force.
RELOADS = 10
SLOTS = 64


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    """The file of the server's policy."""
    file = tmp_path / "policy.yaml"
    file.write_text(RULE.format(1))
    return file


@pytest.fixture
async def server(tmp_path: Path, policy: Path) -> AsyncIterator[ServerProcess]:
    """A server with that policy."""
    async with ServerProcess(tmp_path, arguments=("--policy", str(policy))) as it:
        yield it


def put(server: ServerProcess, policy: Path, text: str) -> None:
    """Give the server another policy, and tell it to look."""
    policy.write_text(text)
    server.signal(signal.SIGHUP)


async def shown(client: Client, holds: Callable[[GetPolicyResponse], bool]) -> GetPolicyResponse:
    """Return what the server says of its policy, once `holds` of it."""
    async with asyncio.timeout(10):
        while not holds(found := await client.policy.get()):
            pass
    return found


async def in_force(client: Client, before: str) -> str:
    """Return the hash of the policy in force once it is another one."""
    return (await shown(client, lambda found: found.policy_hash != before)).policy_hash


async def details(client: Client, operation: str) -> list[tuple[str, dict[str, Any]]]:
    """Return the task and the details of each entry of an operation."""
    filters = QueryEntriesRequest(operation=operation)
    return [
        (entry.task_id, from_struct(entry.details)) async for entry in client.witness.query(filters)
    ]


async def test_g8_each_claim_names_the_policy_that_decided_it_while_policies_change(
    server: ServerProcess, policy: Path
) -> None:
    swarms = [f"p{n}" for n in range(4)]
    async with Client(server.grpc) as client:
        for swarm_id in swarms:
            await client.swarms.register(swarm_id, [], max_concurrent_tasks=SLOTS)
        tasks = [
            Task(task_id=f"{n}-{each}", priority=each, dispatch=DISPATCH_MANUAL)
            for n in range(len(swarms) * SLOTS // 2)
            for each in (1, 2)
        ]
        await client.tasks.create_all(tasks)
        answers: list[tuple[Task, ClaimTaskResponse]] = []
        waiting = list(reversed(tasks))
        over = asyncio.Event()

        async def claim(swarm_id: str) -> None:
            while waiting and not over.is_set():
                task = waiting.pop()
                answer = await client.claims.claim(swarm_id, task.task_id)
                answers.append((task, answer))
                if not answer.claimed:
                    waiting.insert(0, task)

        hashes = {1: (await client.policy.get()).policy_hash}
        async with asyncio.TaskGroup() as group:
            for swarm_id in swarms:
                group.create_task(claim(swarm_id))
            now = hashes[1]
            for n in range(RELOADS):
                denied = 2 - n % 2
                put(server, policy, RULE.format(denied))
                now = hashes[denied] = await in_force(client, now)
            over.set()
        won = {id_: found["policy_hash"] for id_, found in (await details(client, "claim_won"))}
        violated = await details(client, "policy_violated")
    reasons: Counter[str] = Counter()
    for _, found in violated:
        reasons.update(found["reasons"])
    by_both = Counter(answer.claimed for _, answer in answers)
    for task, answer in answers:
        if answer.claimed:
            # What the other policy forbids was allowed by this one.
            assert won[task.task_id] == hashes[3 - task.priority]
        else:
            assert answer.refusal == CLAIM_REFUSAL_POLICY
            told = f"rule not-{task.priority} of policy {hashes[task.priority][:12]}: not"
            assert answer.refusal_detail.startswith(told)
    assert len(by_both) == 2, "some claims were won, and some were denied"
    assert reasons.total() == by_both[False]
    assert set(reasons) <= {f"not-{n}@{digest}" for n, digest in hashes.items()}


async def test_g8_a_task_that_costs_too_much_is_not_created_and_not_claimed(
    server: ServerProcess, policy: Path
) -> None:
    async with Client(server.grpc) as client:
        await client.swarms.register("q", [])
        dear = Task(task_id="dear", max_cost_micros=6, dispatch=DISPATCH_MANUAL)
        await client.tasks.create(dear)
        before = (await client.policy.get()).policy_hash
        put(server, policy, "budgets: {max_task_cost_micros: 5}\n")
        now = await in_force(client, before)
        with pytest.raises(InvalidField) as refused:
            await client.tasks.create(Task(max_cost_micros=6))
        rule = f"must be at most 0.000005 USD, max_task_cost_micros of policy {now[:12]}"
        ((field, told),) = ((each.field, each.rule) for each in refused.value.fields)
        assert (field.endswith("max_cost_micros"), told) == (True, rule)
        denied = await client.claims.claim("q", "dear")
        assert denied.refusal == CLAIM_REFUSAL_POLICY
        assert "max_task_cost_micros is 0.000005 USD" in denied.refusal_detail


async def test_g8_a_task_that_a_rule_kept_waiting_is_assigned_when_the_rule_goes(
    server: ServerProcess, policy: Path
) -> None:
    async with Client(server.grpc) as client, worker(server.grpc) as session:
        await session.opened()
        work = Task(task_id="waits", priority=1, required_capabilities=["a"])
        waits = await client.tasks.create(work)
        assert waits.state != TASK_STATE_CLAIMED
        before = (await client.policy.get()).policy_hash
        put(server, policy, "")
        now = await in_force(client, before)
        handle = await asyncio.wait_for(anext(session), 10)
        assert handle.task_id == "waits"
        ((violated, why),) = await details(client, "policy_violated")
        assert (violated, list(why["reasons"])) == ("waits", [f"not-1@{before}"])
        ((assigned, by),) = await details(client, "task_assigned")
        assert (assigned, by["policy_hash"]) == ("waits", now)


async def test_g8_a_bad_file_is_shown_and_changes_nothing(
    server: ServerProcess, policy: Path
) -> None:
    cli = partial(asyncio.to_thread, commands(server), "policy", "show")
    good = document(await cli("--json"))
    assert (good["source"], good["problems"]) == (str(policy), [])
    text = "budgets:\n  soft_share: 2\n"
    put(server, policy, text)
    async with Client(server.grpc) as client:
        await shown(client, lambda found: bool(found.problems))
    bad = document(await cli("--json", code=ExitCode.REFUSED))
    assert bad["policy_hash"] == good["policy_hash"]
    assert [(each["path"], each["line"]) for each in bad["problems"]] == [("budgets.soft_share", 2)]
    told = await cli(code=ExitCode.REFUSED)
    assert f"hash {good['policy_hash']}" in told.stdout
    assert "max_consecutive_failures: 3" in told.stdout
    assert f"{policy}:2: budgets.soft_share: " in told.stderr
    async with Client(server.grpc) as client:
        found = await client.policy.check(text)
        assert [each.path for each in found.problems] == ["budgets.soft_share"]
        good_one = RULE.format(1) + "cases:\n- {name: c, task: {priority: 1}, expect: not-1}\n"
        assert (await client.policy.check(good_one)).cases == 1
        with pytest.raises(InvalidField, match="at most 262144 bytes"):
            await client.policy.check("#" * 262_145)


@pytest.mark.embedded
def test_g8_check_needs_no_server_and_its_exit_code_tells(tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"

    def check(*arguments: str, code: int) -> tuple[str, str]:
        result = CliRunner().invoke(app, ("policy", "check", str(file), *arguments))
        assert result.exit_code == code, result.output
        return result.stdout, result.stderr

    assert "cannot be read" in check(code=ExitCode.USAGE)[1]
    file.write_text(RULE.format(1) + "cases:\n- {name: c, task: {priority: 1}, expect: not-1}\n")
    assert "good; cases that hold: 1" in check(code=0)[0]
    file.write_text(file.read_text().replace("expect: not-1", "expect: allow"))
    said = f"{file}:4: cases[0].expect: case 'c' expects allow"
    assert check(code=1)[0].startswith(said)
    assert '"path": "cases[0].expect"' in check("--json", code=1)[0]


@pytest.mark.embedded
def test_g8_a_server_does_not_start_without_the_policy_that_it_is_told(tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    ended = subprocess.run(
        [COMMAND, "serve", "--policy", file, "--data", tmp_path / "data"],
        env={**os.environ, "INFRAFABRIC_GRPC": "127.0.0.1:0", "INFRAFABRIC_HTTP": "127.0.0.1:0"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ended.returncode == ExitCode.USAGE
    assert f"policy: {file} cannot be read" in ended.stderr
