"""U1: the real grpcurl lists, describes and calls everything, and opens the session stream."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from infrafabric.v1 import (
    coordinator_service_pb2,
    governor_service_pb2,
    notify_service_pb2,
    witness_service_pb2,
)
from tests.harness.server import ServerProcess

GRPCURL = Path(sys.executable).parent / "grpcurl"
SERVICES = {
    service.full_name: service
    for module in (
        coordinator_service_pb2,
        governor_service_pb2,
        notify_service_pb2,
        witness_service_pb2,
    )
    for service in module.DESCRIPTOR.services_by_name.values()
}
COORDINATOR = "infrafabric.v1.CoordinatorService"
GOVERNOR = "infrafabric.v1.GovernorService"


async def grpcurl(
    server: ServerProcess, *arguments: str, data: str = "", options: tuple[str, ...] = ()
) -> tuple[int, str]:
    """Run grpcurl against the server; return its exit status and all that it prints."""
    process = await asyncio.create_subprocess_exec(
        str(GRPCURL),
        "-plaintext",
        *options,
        *(("-d", "@") if data else ()),
        server.grpc,
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate(data.encode())
    assert process.returncode is not None
    return process.returncode, output.decode()


async def test_u1_every_service_is_listed_with_its_methods(shared_server: ServerProcess) -> None:
    _, listed = await grpcurl(shared_server, "list")
    assert set(SERVICES) <= set(listed.split())
    for name, service in SERVICES.items():
        _, methods = await grpcurl(shared_server, "list", name)
        assert set(methods.split()) == {f"{name}.{method.name}" for method in service.methods}


@pytest.mark.parametrize("name", SERVICES)
async def test_u1_every_service_is_described(shared_server: ServerProcess, name: str) -> None:
    status, described = await grpcurl(shared_server, "describe", name)
    assert status == 0
    for method in SERVICES[name].methods:
        assert f"rpc {method.name} (" in described


@pytest.mark.parametrize("name", [*SERVICES, ""])
async def test_u1_every_service_reports_its_health(shared_server: ServerProcess, name: str) -> None:
    request = json.dumps({"service": name})
    _, answer = await grpcurl(shared_server, "grpc.health.v1.Health/Check", data=request)
    assert '"status": "SERVING"' in answer


@pytest.mark.parametrize(
    ("method", "request_", "answer"),
    [
        (f"{COORDINATOR}/RegisterSwarm", {"swarm_id": "curl"}, '"swarm_id": "curl"'),
        (f"{GOVERNOR}/FindQualifiedSwarm", {"explain": True}, '"candidates"'),
        (
            f"{GOVERNOR}/TrackCost",
            {"swarm_id": "first", "operation": "llm.completion", "cost_micros": 250},
            '"total_micros"',
        ),
        (
            f"{GOVERNOR}/SetBudget",
            {"swarm_id": "first", "limit_micros": 10**9, "period": "BUDGET_PERIOD_DAY"},
            '"renew_time"',
        ),
        (f"{GOVERNOR}/GetBudgetReport", {"fabric": True}, '"BUDGET_STATE_UNLIMITED"'),
        (
            "infrafabric.v1.NotifyService/Notify",
            {"swarm_id": "curl", "status": "STATUS_IDLE"},
            '"queue_position"',
        ),
        ("infrafabric.v1.WitnessService/QueryEntries", {"page_size": 1}, '"previous_hash"'),
    ],
)
async def test_u1_every_service_is_called(
    shared_server: ServerProcess, method: str, request_: dict[str, object], answer: str
) -> None:
    await grpcurl(shared_server, f"{COORDINATOR}/RegisterSwarm", data='{"swarm_id": "first"}')
    status, output = await grpcurl(shared_server, method, data=json.dumps(request_))
    assert status == 0, output
    assert answer in output


async def test_u1_a_refusal_shows_its_reason_and_its_field(shared_server: ServerProcess) -> None:
    status, output = await grpcurl(
        shared_server, f"{COORDINATOR}/GetTask", data='{"task_id": "no spaces"}'
    )
    assert status != 0
    assert "ERROR_REASON_INVALID_FIELD" in output
    assert '"field":"task_id"' in output


async def test_u1_the_session_stream_is_opened_and_used_by_hand(
    shared_server: ServerProcess,
) -> None:
    task = {"task_id": "by-hand", "input": {"n": 1}, "required_capabilities": ["hands"]}
    frames = [
        {"open": {"swarm_id": "hand", "capabilities": ["hands"]}},
        {"request_id": "new", "create": {"tasks": [task]}},
        {"request_id": "mine", "claim": {"task_id": "by-hand"}},
        {
            "request_id": "half",
            "progress": {"task_id": "by-hand", "attempt": 1, "milestone_percent": 50},
        },
        {"request_id": "bad", "progress": {"task_id": "by-hand", "attempt": 7}},
        {"request_id": "done", "complete": {"task_id": "by-hand", "attempt": 1}},
        {"request_id": "bye", "close": {}},
    ]
    messages = "\n".join(json.dumps({"frames": [frame]}) for frame in frames)
    status, output = await grpcurl(shared_server, f"{COORDINATOR}/OpenSession", data=messages)
    assert status == 0, output
    answers = json.JSONDecoder()
    said: list[dict[str, Any]] = []
    rest = output.strip()
    while rest:
        message, end = answers.raw_decode(rest)
        said += message["frames"]
        rest = rest[end:].strip()
    kinds = [kind for frame in said for kind in frame if kind != "sequence"]
    assert kinds[0] == "opened"
    assert [frame["sequence"] for frame in said] == [str(n + 1) for n in range(len(said))]
    replies = {f["reply"]["request_id"]: f["reply"] for f in said if "reply" in f}
    assert set(replies) == {"new", "mine", "half", "bad", "done", "bye"}
    assert [name for name, reply in replies.items() if "error" in reply] == ["bad"]
    _, seen = await grpcurl(shared_server, f"{COORDINATOR}/GetTask", data='{"task_id": "by-hand"}')
    assert '"state": "TASK_STATE_COMPLETED"' in seen
    assert '"owner_swarm_id": "hand"' in seen
