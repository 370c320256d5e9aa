"""Circuit breakers over the wire: sessions halt, people reset, state survives a crash."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from infrafabric import Client, TaskHandle, errors
from infrafabric.v1.breaker_pb2 import (
    BREAKER_CAUSE_MANUAL,
    BREAKER_STATE_CLOSED,
    BREAKER_STATE_OPEN,
)
from infrafabric.v1.session_server_pb2 import REVOKE_REASON_HALTED
from infrafabric.v1.task_pb2 import (
    CLAIM_REFUSAL_BREAKER_OPEN,
    CLAIM_REFUSAL_HOLD,
    DISPATCH_MANUAL,
    TASK_STATE_AVAILABLE,
    TASK_STATE_CLAIMED,
)
from infrafabric_cli.exit_codes import ExitCode
from tests.harness.server import ServerProcess
from tests.integration.commands import Cli, document
from tests.integration.python_sessions import create, given, worker


async def test_g6_a_session_that_must_halt_gives_back_and_goes_on_after_the_reset(
    server: ServerProcess, client: Client
) -> None:
    async with worker(server.grpc) as session:
        task = await given(client, session)
        working = asyncio.create_task(_work(task))
        await asyncio.sleep(0)
        tripped = await client.breakers.trip("w1", "it deletes files")
        assert (tripped.state, tripped.cause) == (BREAKER_STATE_OPEN, BREAKER_CAUSE_MANUAL)
        await working
        assert task.lost is not None
        assert task.lost.reason == REVOKE_REASON_HALTED
        halt = await anext(session.halts())
        assert halt.breaker.detail == "it deletes files"
        assert 0 < halt.grace.seconds <= 30
        async for event in client.tasks.watch():
            if TASK_STATE_AVAILABLE in (event.snapshot.state, event.changed.state):
                break
        claim = await session.claim("t1")
        assert (claim.task, claim.refusal) == (None, CLAIM_REFUSAL_BREAKER_OPEN)
        with pytest.raises(errors.InvalidField, match="approver"):
            await client.breakers.reset("w1", approver="w1", reason="I am fine")
        closed = await client.breakers.reset("w1", approver="Ann Lee", reason="fixed")
        assert (closed.state, closed.approver) == (BREAKER_STATE_CLOSED, "Ann Lee")
        assert (await session.claim("t1")).task is not None


async def test_g6_an_open_breaker_and_a_paused_pool_survive_a_crash(
    server: ServerProcess, client: Client
) -> None:
    pools = {"a": "", "b": "long", "c": "long", "d": "short"}
    for swarm_id, pool in pools.items():
        await client.swarms.register(swarm_id, ["a"], credential_pool=pool)
    # However long the start takes, one is still paused then.
    now = datetime.now(UTC)
    until = {"b": now + timedelta(minutes=10), "d": now + timedelta(seconds=4)}
    for swarm_id, retry_time in until.items():
        await create(client, f"t-{swarm_id}", dispatch=DISPATCH_MANUAL)
        claimed = (await client.claims.claim(swarm_id, f"t-{swarm_id}")).task
        failed = await client.claims.fail(
            *(swarm_id, claimed.task_id, claimed.attempt, "no tokens"),
            provider="quota",
            retry_time=retry_time,
        )
        assert (failed.state, failed.failures) == (TASK_STATE_AVAILABLE, 0)
    await client.breakers.trip("a", "stop")
    await server.kill()
    await server.start()
    async with Client(server.grpc) as again:
        assert (await again.claims.claim("a", "t-b")).refusal == CLAIM_REFUSAL_BREAKER_OPEN
        held = await again.claims.claim("c", "t-b")
        assert held.refusal == CLAIM_REFUSAL_HOLD
        assert "credential pool long is paused until" in held.refusal_detail
        async with worker(server.grpc, swarm_id="d") as session:
            # The pool resumes by itself, and its swarms are given work again.
            await session.opened()
            await create(again, "t2")
            assert (await anext(session)).task_id == "t2"
        assert datetime.now(UTC) >= until["d"]


async def test_g6_no_swarm_shares_the_own_pool_of_another(client: Client) -> None:
    with pytest.raises(errors.InvalidField, match="credential_pool: must not begin with swarm:"):
        await client.swarms.register("leech", ["a"], credential_pool="swarm:host")


def test_g7_breakers_are_listed_tripped_and_reset_by_command(cli: Cli) -> None:
    cli("swarm", "register", "brk-a")
    opened = cli("breaker", "trip", "brk-a", "--reason", "odd answers")
    assert opened.stdout == "open: brk-a (odd answers)\n"
    shown = document(cli("breaker", "list", "--open", "--json"))
    (mine,) = [each for each in shown["breakers"] if each["swarm_id"] == "brk-a"]
    assert (mine["cause"], mine["detail"]) == ("BREAKER_CAUSE_MANUAL", "odd answers")
    assert "brk-a\topen\tmanual" in cli("breaker", "list").stdout
    reset = ("breaker", "reset", "brk-a", "--reason", "checked")
    cli(*reset, "--approver", "brk-a", code=ExitCode.USAGE)
    closed = document(cli(*reset, "--approver", "Ann", "--new-budget", "2.50", "--json"))
    assert (closed["state"], closed["approver"]) == ("BREAKER_STATE_CLOSED", "Ann")
    story = document(cli("witness", "query", "--swarm", "brk-a", "--json"))["entries"]
    told = {entry["operation"]: entry for entry in story if entry["component"] == "governor"}
    assert told["breaker_opened"]["details"]["policy_hash"]
    assert told["breaker_reset"]["details"]["approver"] == "Ann"
    assert told["breaker_reset"]["details"]["new_budget_micros"] == 2_500_000
    cli("breaker", "trip", "--reason", "whose?", code=ExitCode.USAGE)
    cli("breaker", "trip", "nobody", "--reason", "who?", code=ExitCode.REFUSED)


def test_g7_status_tells_what_keeps_work_from_swarms(cli: Cli) -> None:
    for swarm in ("brk-b", "brk-c"):
        cli("notify", "idle", "--swarm", swarm)
    cli("breaker", "trip", "brk-b", "--reason", "odd answers")
    shown = cli("status", "--once").stdout.splitlines()
    (line,) = [line for line in shown if line.startswith("breaker open: brk-b for ")]
    assert line.endswith(": odd answers")
    assert not _place(shown, "brk-b")
    assert _place(shown, "brk-c")
    cli("breaker", "trip", "--fabric", "--reason", "the bill is wrong")
    shown = cli("status", "--once").stdout.splitlines()
    (line,) = [line for line in shown if line.startswith("on hold: all swarms for ")]
    assert line.endswith(": the bill is wrong")
    assert not _place(shown, "brk-c")
    released = ("breaker", "reset", "--fabric", "--approver", "Ann", "--reason", "paid")
    assert cli(*released).stdout == "closed: the fabric\n"
    assert cli(*released).stdout == "closed: the fabric (it was not open)\n"
    assert "on hold" not in cli("status", "--once").stdout


def _place(shown: list[str], swarm_id: str) -> str:
    (row,) = [line.split("\t") for line in shown if line.startswith(f"{swarm_id}\t")]
    return row[shown[0].split("\t").index("queue")]


def test_g7_whoever_opens_a_breaker_or_sets_a_budget_under_it_is_told(cli: Cli) -> None:
    cli("swarm", "register", "brk-d", "--pool", "brk-pool")
    reset = "breaker reset brk-d --approver NAME --reason TEXT"
    for number in (1, 2, 3):
        mine = (f"brk-{number}", "--swarm", "brk-d")
        cli("tasks", "create", "x", "--id", mine[0], "--dispatch", "manual")
        cli("tasks", "claim", *mine)
        failed = cli("tasks", "fail", *mine, "--attempt", "1", "no image")
        assert failed.stdout.startswith(f"brk-{number}: failed, attempt 1; available again from ")
        why = "3 failures in a row, 3 open it"
        said = f"brk-d: its circuit breaker is open ({why}); to close it: infrafabric {reset}\n"
        assert failed.stderr == (said if number == 3 else "")
    cli("cost", "track", "llm", "1.95", "--swarm", "brk-d")
    told = cli("budget", "set", "5", "--swarm", "brk-d")
    assert "swarm brk-d\tok\t5.00\t1.95" in told.stdout
    assert told.stderr.endswith(f"infrafabric {reset}\n")
    told = cli("budget", "set", "1", "--swarm", "brk-d")
    assert told.stderr.endswith(f"infrafabric {reset} --new-budget USD\n")
    again = ("breaker", "reset", "brk-d", "--approver", "Ann", "--reason", "checked")
    assert cli(*again, "--new-budget", "5").stdout == "closed: brk-d\n"
    assert cli(*again).stdout == "closed: brk-d (it was not open; its counts begin anew)\n"
    assert cli("budget", "set", "6", "--swarm", "brk-d").stderr == ""
    cli("tasks", "create", "x", "--id", "brk-4", "--dispatch", "manual")
    cli("tasks", "claim", "brk-4", "--swarm", "brk-d")
    refused = ("429", "--swarm", "brk-d", "--attempt", "1", "--provider", "rate")
    paused = cli("tasks", "fail", "brk-4", *refused).stderr
    assert paused.startswith("paused: pool brk-pool (brk-d) until ")


async def test_g6_the_hold_stops_and_releases_the_fabric(
    server: ServerProcess, client: Client
) -> None:
    async with worker(server.grpc) as session:
        await session.opened()
        await client.breakers.trip(None, "maintenance")
        await anext(session.halts())
        await create(client, "t1")
        assert (await client.tasks.get("t1")).state == TASK_STATE_AVAILABLE
        await client.breakers.reset(None, approver="Ann", reason="done")
        assert (await anext(session)).task_id == "t1"
        assert (await client.tasks.get("t1")).state == TASK_STATE_CLAIMED


async def _work(task: TaskHandle) -> None:
    """Work without an end; returns when the claim is lost."""
    async with task.guard():
        await asyncio.Event().wait()
