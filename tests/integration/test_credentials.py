"""Credentials over the wire: they end with the claim, and no secret of theirs is anywhere."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from infrafabric import Client, errors
from infrafabric.credentials import Issued
from infrafabric.v1.chassis_contract_pb2 import ServiceContract
from infrafabric.v1.chassis_credential_pb2 import (
    CREDENTIAL_DENIAL_CLAIM_ENDED,
    CREDENTIAL_DENIAL_ENDPOINT,
    CREDENTIAL_DENIAL_EXPIRED,
    CREDENTIAL_DENIAL_MALFORMED,
    CREDENTIAL_DENIAL_METHOD,
    CREDENTIAL_DENIAL_REVOKED,
    CREDENTIAL_DENIAL_UNKNOWN,
    CREDENTIAL_STATE_CLAIM_ENDED,
    CREDENTIAL_STATE_LIVE,
    CREDENTIAL_STATE_REVOKED,
    CredentialDenial,
    CredentialEndpoint,
)
from infrafabric.v1.chassis_execution_pb2 import VIOLATION_KIND_API_DENIED
from infrafabric.v1.task_pb2 import TASK_STATE_COMPLETED, Task
from infrafabric.v1.witness_service_pb2 import QueryEntriesRequest
from infrafabric.values import from_struct, to_struct
from infrafabric_cli.exit_codes import ExitCode
from infrafabric_server.chassis.credentials.tokens import checksum, digest
from tests.harness.server import ServerProcess
from tests.harness.webhook import raw, receiving
from tests.integration.commands import Cli, document
from tests.integration.guests import ASKING

MODELS = CredentialEndpoint(url="https://api.example.org/v1/", methods=["GET", "POST"])
URL = "https://api.example.org/v1/models"
ALLOWED = 0


@pytest.fixture
async def calls(shared_server: ServerProcess) -> AsyncIterator[Client]:
    """Return a client of the server that the tests share, each with ids of its own."""
    async with Client(shared_server.grpc) as it:
        yield it


async def held(client: Client, name: str) -> int:
    """Have the swarm `name` claim the task `name`; return the attempt."""
    await client.swarms.register(name, ["any"])
    await client.tasks.create(Task(task_id=name))
    return (await client.claims.claim(name, name)).task.attempt


async def issued(client: Client, name: str, *, ttl: timedelta | None = None) -> Issued:
    attempt = await held(client, name)
    return await client.credentials.issue(name, name, attempt, [MODELS], ttl=ttl)


async def completed(client: Client, task_id: str) -> Task:
    async with asyncio.timeout(20):
        async for event in client.tasks.watch():
            for task in (event.snapshot, event.changed):
                if task.task_id == task_id and task.state == TASK_STATE_COMPLETED:
                    return task
    raise AssertionError("the watch ended")


def files_with(folder: Path, text: str) -> list[Path]:
    files = [each for each in folder.rglob("*") if each.is_file()]
    assert files
    return [each for each in files if text.encode() in each.read_bytes()]


async def denial(
    client: Client, token: str, method: str = "GET", url: str = URL
) -> CredentialDenial.ValueType:
    """Return why a request is not allowed, and check that only who has the secret hears more."""
    verdict = await client.credentials.validate(token, method, url)
    assert verdict.valid == (verdict.denial == ALLOWED)
    strange = verdict.denial in (CREDENTIAL_DENIAL_MALFORMED, CREDENTIAL_DENIAL_UNKNOWN)
    assert verdict.HasField("credential") != strange
    return verdict.denial


async def test_x6_a_token_allows_its_endpoints_and_methods_and_nothing_else(calls: Client) -> None:
    token = (await issued(calls, "scope")).token
    assert await denial(calls, token) == ALLOWED
    assert await denial(calls, token, "POST", "https://API.example.org:443/v1/chat?a=1") == ALLOWED
    assert (await calls.credentials.validate(token)).valid
    assert await denial(calls, token, "DELETE") == CREDENTIAL_DENIAL_METHOD
    for url in (
        "http://api.example.org/v1/models",
        "https://api.example.org:8443/v1/models",
        "https://api.example.org.evil.net/v1/models",
        "https://api.example.org/v10",
        "https://api.example.org/",
    ):
        assert await denial(calls, token, "GET", url) == CREDENTIAL_DENIAL_ENDPOINT
    for url in (
        "https://api.example.org/v1/../admin",
        "https://api.example.org/v1/%2e%2e/admin",
        "https://api.example.org@evil.net/v1/",
    ):
        with pytest.raises(errors.InvalidField, match="url: must"):
            await calls.credentials.validate(token, "GET", url)


async def test_x6_who_has_no_secret_learns_nothing(calls: Client) -> None:
    made = await issued(calls, "secret")
    token, last = made.token, made.token[-1]
    assert await denial(calls, "") == CREDENTIAL_DENIAL_MALFORMED
    damaged = token[:-1] + ("a" if last != "a" else "b")
    assert await denial(calls, damaged) == CREDENTIAL_DENIAL_MALFORMED
    # Tokens of another claim, one with the id of this one.
    other = (await issued(calls, "other")).token
    forged = f"ifcred_{made.credential.credential_id}_{other[24:67]}"
    assert await denial(calls, forged + checksum(forged)) == CREDENTIAL_DENIAL_UNKNOWN
    stranger = f"ifcred_{'0' * 16}_{other[24:67]}"
    assert await denial(calls, stranger + checksum(stranger)) == CREDENTIAL_DENIAL_UNKNOWN
    assert await denial(calls, token) == ALLOWED


async def test_x6_who_asks_is_shown_what_is_live_and_no_secret(calls: Client, cli: Cli) -> None:
    first = await issued(calls, "list")
    second = await calls.credentials.issue("list", "list", 1, [MODELS])
    assert await calls.credentials.revoke(second.credential.credential_id)
    found = [each async for each in calls.credentials.list("list")]
    assert [each.credential for each in found] == [first.credential, second.credential]
    assert [each.state for each in found] == [CREDENTIAL_STATE_LIVE, CREDENTIAL_STATE_REVOKED]
    live = [each async for each in calls.credentials.list("list", CREDENTIAL_STATE_LIVE)]
    assert live == found[:1]
    told = await asyncio.to_thread(cli, "credential", "list", "list", "--live")
    shown = told.stdout.splitlines()
    assert shown[1].startswith(f"{first.credential.credential_id}\tlist\tlist\t1\tlive\t")
    assert shown[1].endswith("\tGET,POST https://api.example.org/v1/")
    listed = (await asyncio.to_thread(cli, "credential", "list", "--json")).stdout
    for each in (first, second):
        assert each.credential.credential_id in listed
        assert each.token not in listed
        assert digest(each.token) not in listed
    await calls.claims.release("list", "list", 1)
    ended = [each async for each in calls.credentials.list("list", CREDENTIAL_STATE_CLAIM_ENDED)]
    # Unless it was swept meanwhile.
    assert [each.credential for each in ended] in ([], [first.credential])


@pytest.mark.parametrize("end", ["complete", "release", "fail", "cancel"])
async def test_x6_a_credential_ends_with_its_claim(calls: Client, end: str) -> None:
    name = f"end-{end}"
    token = (await issued(calls, name)).token
    assert await denial(calls, token) == ALLOWED
    match end:
        case "complete":
            await calls.claims.complete(name, name, 1)
        case "release":
            await calls.claims.release(name, name, 1)
        case "fail":
            await calls.claims.fail(name, name, 1, "it broke", permanent=True)
        case _:
            await calls.tasks.cancel(name)
    assert await denial(calls, token) == CREDENTIAL_DENIAL_CLAIM_ENDED
    if end == "release":
        # Nor does the next claim of the same swarm bring it back.
        assert (await calls.claims.claim(name, name)).task.attempt == 2
        assert await denial(calls, token) == CREDENTIAL_DENIAL_CLAIM_ENDED
        with pytest.raises(errors.StaleAttempt):
            await calls.credentials.issue(name, name, 1, [MODELS])
        anew = await calls.credentials.issue(name, name, 2, [MODELS])
        assert await denial(calls, anew.token) == ALLOWED


async def test_x6_no_crash_lets_a_credential_outlive_its_claim(tmp_path: Path) -> None:
    short = {"INFRAFABRIC_CLAIM_TTL_SECONDS": "2"}
    async with ServerProcess(tmp_path, environment=short) as server:
        async with Client(server.grpc) as client:
            token = (await issued(client, "t")).token
            assert await denial(client, token) == ALLOWED
        await server.kill()
        await server.start()
        async with Client(server.grpc) as client, asyncio.timeout(10):
            while (why := await denial(client, token)) == ALLOWED:
                pass
            # The server that leads may have swept it already.
            assert why in (CREDENTIAL_DENIAL_CLAIM_ENDED, CREDENTIAL_DENIAL_UNKNOWN)


async def test_x6_a_credential_ends_by_its_time(calls: Client) -> None:
    token = (await issued(calls, "brief", ttl=timedelta(seconds=1))).token
    async with asyncio.timeout(10):
        while (why := await denial(calls, token)) == ALLOWED:
            pass
    assert why == CREDENTIAL_DENIAL_EXPIRED


async def test_x6_revocation_holds_from_its_answer_on(calls: Client) -> None:
    made = await issued(calls, "revoked")
    assert await calls.credentials.revoke(made.credential.credential_id)
    assert await denial(calls, made.token) == CREDENTIAL_DENIAL_REVOKED
    assert not await calls.credentials.revoke(made.credential.credential_id)
    assert not await calls.credentials.revoke("0" * 16)
    with pytest.raises(errors.InvalidField, match="credential_id: must be 16"):
        await calls.credentials.revoke(made.token)


async def test_x6_only_the_holder_gets_some_and_so_many(calls: Client) -> None:
    attempt = await held(calls, "many")
    await calls.swarms.register("stranger", ["any"])
    with pytest.raises(errors.NotOwner):
        await calls.credentials.issue("stranger", "many", attempt, [MODELS])
    with pytest.raises(errors.TaskNotFound):
        await calls.credentials.issue("many", "nothing", attempt, [MODELS])
    made = [await calls.credentials.issue("many", "many", 1, [MODELS]) for _ in range(8)]
    with pytest.raises(errors.LimitReached, match="8 credentials"):
        await calls.credentials.issue("many", "many", 1, [MODELS])
    await calls.credentials.revoke(made[3].credential.credential_id)
    await calls.credentials.issue("many", "many", 1, [MODELS])
    # What was revoked made room, and is not known any more.
    assert await denial(calls, made[3].token) == CREDENTIAL_DENIAL_UNKNOWN
    assert await denial(calls, made[2].token) == ALLOWED


@pytest.mark.parametrize(
    ("endpoints", "rule"),
    [
        ([], "endpoints: must have 1 to 8"),
        ([MODELS] * 9, "endpoints: must have 1 to 8"),
        ([("ftp://example.org/", "GET")], r"endpoints\[0\].url: must be http"),
        ([("https://example.org/?a", "GET")], r"endpoints\[0\].url: must have no query"),
        ([("https://2130706433/", "GET")], r"endpoints\[0\].url: must write an IPv4"),
        ([("https://example.org/", "get")], r"endpoints\[0\].methods: must be of DELETE"),
        ([("https://example.org/" + "p" * 512, "GET")], r"endpoints\[0\].url: .*at most 512"),
    ],
)
async def test_x6_what_a_credential_is_for_is_checked(
    calls: Client, endpoints: list[CredentialEndpoint | tuple[str, str]], rule: str
) -> None:
    made = [
        CredentialEndpoint(url=each[0], methods=[each[1]]) if isinstance(each, tuple) else each
        for each in endpoints
    ]
    with pytest.raises(errors.InvalidField, match=rule):
        await calls.credentials.issue("s", "t", 1, made)
    with pytest.raises(errors.InvalidField, match="ttl: must be a duration of 1 to 86400"):
        await calls.credentials.issue("s", "t", 1, [MODELS], ttl=timedelta(days=2))


async def test_x6_w1_all_is_on_record_and_no_secret_anywhere(tmp_path: Path) -> None:
    debug = {"INFRAFABRIC_LOG_LEVEL": "debug"}
    async with ServerProcess(tmp_path, environment=debug) as server, Client(server.grpc) as client:
        made = await issued(client, "r")
        secret = made.token[24:]
        assert secret not in repr(made)
        wrong = made.token[:-1] + ("a" if made.token[-1] != "a" else "b")
        for token in (made.token, wrong):
            await denial(client, token, "DELETE")
        with pytest.raises(errors.NotOwner) as refusal:
            await client.credentials.issue("x", "r", 1, [MODELS])
        assert secret not in str(refusal.value)
        await client.credentials.revoke(made.credential.credential_id)
        query = QueryEntriesRequest(component="chassis")
        entries = [entry async for entry in client.witness.query(query)]
        told = {(entry.operation, entry.swarm_id): from_struct(entry.details) for entry in entries}
        given = told["credential_issued", "r"]
        assert given["endpoints"] == [{"url": MODELS.url, "methods": ["GET", "POST"]}]
        assert given["credential_id"] == made.credential.credential_id
        assert told["credential_revoked", "r"] == {"credential_id": given["credential_id"]}
        assert told["credential_refused", "r"]["reasons"] == {"method": 1}
        assert told["credential_refused", ""]["reasons"] == {"malformed": 1}
        assert told["credential_refused", "x"]["reasons"] == {"not_owner": 1}
        for entry in entries:
            assert secret[:20] not in str(entry)
    assert secret[:20] not in server.log
    assert await asyncio.to_thread(files_with, tmp_path, secret[:20]) == []


async def test_x3_x6_a_guest_reaches_what_the_credential_of_its_task_names(calls: Client) -> None:
    await calls.swarms.register("guest", ["wasm"])
    async with receiving(raw(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")) as there:
        endpoint = CredentialEndpoint(url=there.url, methods=["GET"])
        contract = ServiceContract(allowed_calls=["http"], endpoints=[endpoint])
        loaded = await calls.chassis.load("guest", ASKING, contract)
        assert list(loaded.contract.endpoints) == [endpoint]

        async def run(task_id: str, **asked: str) -> dict[str, Any]:
            task = Task(task_id=task_id, chassis_swarm_id="guest", input=to_struct(asked))
            await calls.tasks.create(task)
            return from_struct((await completed(calls, task_id)).result)

        answer = await run("guest-1", method="GET", url=there.url)
        assert (answer["status"], answer["text"]) == (200, "hi")
        for number, (method, url) in enumerate(
            [("PUT", there.url), ("GET", there.url + "s"), ("GET", "https://example.org/")], 2
        ):
            asked = {"method": method, "url": url}
            assert await run(f"guest-{number}", **asked) == asked
        # No task, no claim, no credential.
        outside = await calls.chassis.execute("guest", "run", {"method": "GET", "url": there.url})
        assert "status" not in from_struct(outside.result)
        assert there.lines == ["GET /hook HTTP/1.1"]
    query = QueryEntriesRequest(component="chassis", swarm_id="guest")
    told = Counter([entry.operation async for entry in calls.witness.query(query)])
    assert told["credential_issued"] == 4
    assert told["credential_refused"] >= 1


async def test_x3_endpoints_need_the_call_that_goes_there(calls: Client) -> None:
    await calls.swarms.register("silent", ["wasm"])
    for contract, rule in (
        (ServiceContract(endpoints=[MODELS]), r"contract\.endpoints: must be empty unless http"),
        (ServiceContract(endpoints=[MODELS] * 9), r"contract\.endpoints: must have at most 8"),
    ):
        with pytest.raises(errors.InvalidField, match=rule):
            await calls.chassis.load("silent", ASKING, contract)
    denied = await calls.chassis.load("silent", ASKING, ServiceContract())
    assert not denied.contract.endpoints
    ended = await calls.chassis.execute("silent", "run", {"method": "GET", "url": MODELS.url})
    assert [each.kind for each in ended.violations] == [VIOLATION_KIND_API_DENIED]


def test_x6_the_commands_issue_validate_and_revoke(cli: Cli) -> None:
    cli("swarm", "register", "cmd", "--capability", "any")
    cli("tasks", "create", "Ask a model", "--id", "cmd")
    cli("tasks", "claim", "cmd", "--swarm", "cmd")
    made = cli(
        *("credential", "issue", "cmd", "--swarm", "cmd", "--attempt", "1"),
        *("--allow", "GET,POST https://api.example.org/v1", "--allow", "GET http://10.0.0.1:8080"),
    )
    token = made.stdout.strip()
    asked = ("credential", "validate", "POST", "https://api.example.org/v1/chat")
    allowed = cli(*asked, stdin=token)
    assert allowed.stdout == "valid: attempt 1 of cmd by cmd\n"
    assert document(cli("credential", "validate", "--json", stdin=token))["valid"]
    denied = cli("credential", "validate", "PUT", URL, stdin=token, code=ExitCode.REFUSED)
    assert denied.stdout == "not valid: method\n"
    assert cli("credential", "revoke", token[7:23]).stdout == f"{token[7:23]}: revoked\n"
    assert cli("credential", "revoke", token[7:23]).stdout.endswith("nothing to revoke\n")
    gone = cli("credential", "validate", stdin=token, code=ExitCode.REFUSED)
    assert gone.stdout == "not valid: revoked\n"
