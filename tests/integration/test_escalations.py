"""What wants a person is listed, watched, acknowledged and closed, whatever server leads."""

import asyncio
import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from infrafabric import Client
from infrafabric.errors import EscalationNotFound, InvalidField
from infrafabric.v1.breaker_pb2 import BREAKER_STATE_OPEN
from infrafabric.v1.escalation_pb2 import (
    ESCALATION_KIND_BLOCKER,
    ESCALATION_KIND_BREAKER,
    ESCALATION_KIND_BUDGET,
    ESCALATION_KIND_HOLD,
    ESCALATION_KIND_POLICY,
    ESCALATION_STATE_ACKNOWLEDGED,
    ESCALATION_STATE_CLOSED,
    ESCALATION_STATE_OPEN,
    Escalation,
)
from infrafabric.v1.governor_budget_pb2 import SetBudgetRequest
from infrafabric.v1.task_pb2 import CLAIM_REFUSAL_POLICY, DISPATCH_MANUAL, Task
from infrafabric.v1.witness_service_pb2 import QueryEntriesRequest
from infrafabric.values import from_struct
from infrafabric_cli.exit_codes import ExitCode
from infrafabric_server.governor.escalation.webhook import signature
from tests.harness.server import ServerFailedError, ServerProcess
from tests.harness.setups import Setup
from tests.harness.webhook import TAKEN, raw, receiving
from tests.integration.commands import commands, document
from tests.integration.escalations import changed

# A blocker is brought before people after this.
SOON = {"INFRAFABRIC_ESCALATE_SECONDS": "0.2"}


@pytest.fixture(scope="module")
def server(setup: Setup, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One server for the tests of this module."""
    it = ServerProcess(tmp_path_factory.mktemp(f"escalations-{setup}"), environment=SOON)
    with asyncio.Runner() as runner:
        runner.run(it.start())
        yield it
        runner.run(it.kill())


async def blocked(client: Client, swarm_id: str, description: str = "no key") -> Escalation:
    """Report a blocker and return its escalation."""
    await client.swarms.register(swarm_id, [])
    await client.claims.report_blocker(swarm_id, description)
    return await changed(client, lambda each: each.swarm_id == swarm_id)


async def is_closed(client: Client, escalation_id: str) -> Escalation:
    """Return an escalation once it is closed."""
    return await changed(
        client,
        lambda it: it.escalation_id == escalation_id and it.state == ESCALATION_STATE_CLOSED,
    )


async def operations(client: Client, swarm_id: str) -> list[str]:
    """Return what the log says of a swarm's escalations."""
    filters = QueryEntriesRequest(swarm_id=swarm_id, component="governor")
    return [entry.operation async for entry in client.witness.query(filters)]


async def test_g7_a_blocker_that_lasts_is_listed_acknowledged_and_closed(
    server: ServerProcess,
) -> None:
    async with Client(server.grpc) as client:
        opened = await blocked(client, "esc-a")
        assert opened.escalation_id == "blocker:esc-a/-"
        assert (opened.kind, opened.state) == (ESCALATION_KIND_BLOCKER, ESCALATION_STATE_OPEN)
        assert (opened.level, opened.summary) == (1, "swarm esc-a reported a blocker: no key")
        taken = await client.escalations.acknowledge(opened.escalation_id, "mary", note="I look")
        again = await client.escalations.acknowledge(opened.escalation_id, "mary", note="I look")
        assert taken == again
        assert (taken.state, taken.acknowledged_by) == (ESCALATION_STATE_ACKNOWLEDGED, "mary")
        await client.claims.resolve_blocker("esc-a", resolution="a key came")
        closed = await is_closed(client, "blocker:esc-a/-")
        assert (closed.acknowledged_by, closed.HasField("close_time")) == ("mary", True)
        still_closed = [each async for each in client.escalations.list(ESCALATION_STATE_CLOSED)]
        assert closed in still_closed
        told = await operations(client, "esc-a")
        assert [each for each in told if each != "escalation_updated"] == [
            "escalation_opened",
            "escalation_acknowledged",
            "escalation_closed",
        ]
        filters = QueryEntriesRequest(swarm_id="esc-a", operation="escalation_opened")
        (entry,) = [each async for each in client.witness.query(filters)]
        details = from_struct(entry.details)
        assert details["escalation_id"] == "blocker:esc-a/-"
        assert len(details["policy_hash"]) == 64
    assert '"event": "escalation_opened"' in server.log


async def test_g7_a_watch_goes_on_where_it_was_cut(server: ServerProcess) -> None:
    async with Client(server.grpc) as client:
        opened = await blocked(client, "esc-b")
        cursor = ""
        async for response in client.escalations.watch():
            cursor = response.cursor
            if any(event.HasField("snapshot_end") for event in response.events):
                break
        await client.escalations.acknowledge(opened.escalation_id, "mary")
        async with asyncio.timeout(20):
            async for response in client.escalations.watch(cursor):
                acknowledged = [event.changed.acknowledged_by for event in response.events]
                if "mary" in acknowledged:
                    break
                assert acknowledged == [""], "nothing but what came after the cursor"


async def test_g7_an_escalation_goes_on_after_its_server_was_killed(tmp_path: Path) -> None:
    async with ServerProcess(tmp_path, environment=SOON) as server:
        async with Client(server.grpc) as client:
            opened = await blocked(client, "esc-c")
            await client.escalations.acknowledge(opened.escalation_id, "mary")
            await client.swarms.register("esc-d", [])
            await client.claims.report_blocker("esc-d", "no disk")
        await server.kill()
        await server.start()
        async with Client(server.grpc) as client:
            after = await changed(client, lambda each: each.swarm_id == "esc-d")
            assert after.state == ESCALATION_STATE_OPEN
            kept = await changed(client, lambda each: each.swarm_id == "esc-c")
            assert (kept.acknowledged_by, kept.create_time) == ("mary", opened.create_time)
            await client.claims.resolve_blocker("esc-c")
            await is_closed(client, "blocker:esc-c/-")
            told = await operations(client, "esc-c")
            assert told.count("escalation_opened") == told.count("escalation_closed") == 1


async def test_g7_an_open_breaker_and_a_hold_are_listed_until_they_are_reset(
    server: ServerProcess,
) -> None:
    async with Client(server.grpc) as client:
        await client.swarms.register("esc-f", [])
        await client.breakers.trip("esc-f", "it writes nonsense")
        opened = await changed(client, lambda each: each.swarm_id == "esc-f")
        assert (opened.escalation_id, opened.kind) == ("breaker:esc-f", ESCALATION_KIND_BREAKER)
        assert opened.summary.startswith("the circuit breaker of swarm esc-f opened: ")
        assert "it writes nonsense" in opened.summary
        await client.escalations.acknowledge("breaker:esc-f", "mary")
        page = await anext(client.breakers.pages(BREAKER_STATE_OPEN))
        assert "esc-f" in [each.swarm_id for each in page.breakers], "knowing does not close it"
        await client.breakers.reset("esc-f", approver="mary", reason="it was taught better")
        await is_closed(client, "breaker:esc-f")
        await client.breakers.trip(None, "everybody out")
        hold = await changed(client, lambda each: each.escalation_id == "hold:fabric")
        assert (hold.kind, hold.swarm_id) == (ESCALATION_KIND_HOLD, "")
        assert hold.summary.startswith("all work was put on hold: ")
        await client.breakers.reset(None, approver="mary", reason="all clear")
        await is_closed(client, "hold:fabric")


async def test_g7_a_budget_is_listed_when_its_soft_share_is_spent(server: ServerProcess) -> None:
    async with Client(server.grpc) as client:
        await client.swarms.register("esc-g", [])
        terms = SetBudgetRequest(swarm_id="esc-g", limit_micros=1_000_000, soft_share=0.5)
        await client.budgets.limit(terms)
        await client.budgets.track("esc-g", "llm.completion", 600_000)
        opened = await changed(client, lambda each: each.swarm_id == "esc-g")
        assert (opened.escalation_id, opened.kind) == (
            "budget:swarm/esc-g",
            ESCALATION_KIND_BUDGET,
        )
        assert opened.summary == "the budget of swarm esc-g was used to 50 %: 1.00 USD"
        terms.limit_micros = 10_000_000
        await client.budgets.limit(terms)
        await is_closed(client, "budget:swarm/esc-g")


async def test_g7_a_webhook_is_told_and_no_log_has_its_address_or_secret(tmp_path: Path) -> None:
    async with receiving(raw(TAKEN)) as receiver:
        server = ServerProcess(
            tmp_path,
            arguments=("--webhook", f"my-pager={receiver.url}"),
            environment={**SOON, "INFRAFABRIC_WEBHOOK_SECRET_MY_PAGER": "s3cret"},
        )
        async with server, Client(server.grpc) as client:
            await blocked(client, "esc-h")
            await client.claims.resolve_blocker("esc-h")
            await is_closed(client, "blocker:esc-h/-")
            async with asyncio.timeout(20):
                await receiver.told("escalation_closed")
            assert await server.stop() == 0
    assert receiver.events == ["escalation_opened", "escalation_closed"]
    for headers, body in receiver.requests:
        stamp = headers["infrafabric-signature"].partition(",")[0].removeprefix("t=")
        assert headers["infrafabric-signature"] == signature("s3cret", int(stamp), body)
    assert receiver.url not in server.log
    assert "s3cret" not in server.log


async def test_g7_a_server_does_not_start_without_the_secret_of_a_webhook(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path, arguments=("--webhook", "pager=https://pager.example/in"))
    with pytest.raises(ServerFailedError, match="INFRAFABRIC_WEBHOOK_SECRET_PAGER"):
        await server.start()
    assert "pager.example" not in server.log


async def test_g8_a_broken_rule_is_raised_as_the_policy_says(tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text(
        """
escalation: {raise_after: 1s}
rules:
  - name: nights-off
    when: task.title == "work at night"
    deny: Nobody works at night.
"""
    )
    server = ServerProcess(tmp_path, arguments=("--policy", str(policy)))
    async with server, Client(server.grpc) as client:
        await client.swarms.register("esc-i", [])
        await client.tasks.create(
            Task(task_id="esc-t", title="work at night", dispatch=DISPATCH_MANUAL)
        )
        refused = await client.claims.claim("esc-i", "esc-t")
        assert refused.refusal == CLAIM_REFUSAL_POLICY
        opened = await changed(client, lambda each: each.kind == ESCALATION_KIND_POLICY)
        assert (opened.escalation_id, opened.task_id) == ("policy:nights-off", "esc-t")
        assert opened.summary.endswith("such as esc-t from esc-i: Nobody works at night.")
        raised = await changed(client, lambda each: each.level == 3)
        assert raised.state == ESCALATION_STATE_OPEN
        filters = QueryEntriesRequest(swarm_id="esc-i", operation="escalation_raised")
        entries = [from_struct(each.details) async for each in client.witness.query(filters)]
        assert [each["level"] for each in entries] == [2, 3]
        hashed = hashlib.sha256(policy.read_bytes()).hexdigest()
        assert {each["policy_hash"] for each in entries} == {hashed}


async def test_g7_what_was_never_escalated_cannot_be_acknowledged(server: ServerProcess) -> None:
    async with Client(server.grpc) as client:
        with pytest.raises(EscalationNotFound, match="kept for a day"):
            await client.escalations.acknowledge("blocker:nobody/-", "mary")
        with pytest.raises(InvalidField, match="acknowledged_by"):
            await client.escalations.acknowledge("blocker:nobody/-", "")


async def test_u3_the_command_line_lists_and_acknowledges(server: ServerProcess) -> None:
    cli = commands(server)
    async with Client(server.grpc) as client:
        await blocked(client, "esc-e", "no [red]key")
    run = asyncio.get_running_loop().run_in_executor
    listed = (await run(None, cli, "escalations", "--state", "open")).stdout.splitlines()
    assert listed[0].split("\t")[0] == "escalation"
    row = next(line.split("\t") for line in listed if line.startswith("blocker:esc-e/-"))
    assert (row[1], row[2]) == ("open", "1")
    assert row[-1] == "swarm esc-e reported a blocker: no [red]key"

    def acknowledge() -> str:
        return cli("escalations", "ack", "blocker:esc-e/-", "--by", "mary").stdout

    again = await run(None, lambda: cli("escalations", "list", "--state", "open").stdout)
    assert again.splitlines()[0] == listed[0]
    assert "blocker:esc-e/-\topen" in again
    said = await run(None, acknowledge)
    assert said.startswith("blocker:esc-e/-: acknowledged by mary, level 1: swarm esc-e")
    shown = document(await run(None, lambda: cli("escalations", "--json")))["escalations"]
    assert {each["escalation_id"]: each["acknowledged_by"] for each in shown}[
        "blocker:esc-e/-"
    ] == "mary"
    one = await run(None, lambda: cli("escalations", "show", "blocker:esc-e/-").stdout)
    assert "acknowledged by\tmary\n" in one
    await run(None, lambda: cli("escalations", "show", "x:y", code=ExitCode.REFUSED))
    await run(
        None,
        lambda: cli("escalations", "ack", "x:y", "--by", "mary", code=ExitCode.REFUSED),
    )
    await run(None, lambda: cli("escalations", "--state", "odd", code=ExitCode.USAGE))
