"""X3, X6, G8: contracts and credentials name the hosts that the policy allows, and no others."""

from typing import Any

import pytest
from grpc import aio
from hypothesis import given
from hypothesis import strategies as st

from infrafabric.v1.chassis_contract_pb2 import ServiceContract
from infrafabric.v1.chassis_credential_pb2 import (
    CREDENTIAL_DENIAL_HOST,
    CREDENTIAL_DENIAL_UNSPECIFIED,
    CredentialEndpoint,
    IssueCredentialRequest,
    ValidateCredentialRequest,
)
from infrafabric.v1.chassis_module_pb2 import LoadSwarmRequest
from infrafabric_server.chassis.credentials.urls import read
from infrafabric_server.governor.policy.models import Containing, Policy
from infrafabric_server.governor.policy.verdicts import effective
from infrafabric_server.store.memory import MemoryStore
from tests.harness.fabric import new_task
from tests.unit.chassis.boxes import TTL, ActedBox, Boxed, running_chassis, served
from tests.unit.edge.probe import reason_of
from tests.unit.governor.policy.kit import loaded, problems

API = CredentialEndpoint(url="https://api.example.org/v1", methods=["GET"])
EVIL = CredentialEndpoint(url="https://api.example.org.evil.net/", methods=["GET"])


@pytest.mark.parametrize(
    ("patterns", "hosts", "others"),
    [
        (None, ["example.org", "10.0.0.5", "::1"], []),
        ([], [], ["example.org", "10.0.0.5", "::1"]),
        (["API.example.org"], ["api.example.org"], ["example.org", "a.api.example.org"]),
        (
            ["*.example.org", "10.0.0.5"],
            ["a.example.org", "a.b.example.org", "10.0.0.5"],
            ["example.org", "aexample.org", "a.example.org.evil.net", "10.0.0.50"],
        ),
        (["2001:DB8:0::1", "localhost"], ["2001:db8::1", "localhost"], ["2001:db8::2"]),
    ],
)
def test_x6_hosts_are_those_that_the_policy_names(
    patterns: list[str] | None, hosts: list[str], others: list[str]
) -> None:
    policy = loaded(f"chassis: {{allowed_hosts: {patterns if patterns is not None else 'null'}}}")
    allows = policy.policy.chassis.allows_host
    assert [each for each in [*hosts, *others] if allows(each)] == hosts


@pytest.mark.parametrize(
    "wrong",
    ["*", "*.", "a.*", "*a.org", "http://a.org", "a.org:443", "a.org/", "a b", "", "127.1", "*.1"],
)
def test_g8_a_pattern_that_is_none_is_a_problem_of_the_policy(wrong: str) -> None:
    ((path, line, told),) = problems(f"chassis:\n  allowed_hosts: [a.org, '{wrong}']")
    assert (path, line) == ("chassis.allowed_hosts[1]", 2)
    assert "must be a host such as api.example.org, *.example.org or 192.0.2.7" in told


@given(st.from_regex(r"[a-z0-9*.\-:]{1,20}", fullmatch=True))
def test_x6_what_a_pattern_names_itself_is_allowed_and_can_be_asked_for(host: str) -> None:
    try:
        target = read(f"https://{host}/")
    except ValueError:
        return
    assert Containing(allowed_hosts=[target.host]).allows_host(target.host)


def install(boxed: Boxed, *hosts: str) -> None:
    """Have a policy come into force that allows some hosts."""
    policy = Policy(chassis=Containing(allowed_hosts=hosts))
    boxed.policies.install(effective(policy, "cafe"))


async def refused(call: Any) -> str:
    """Return what a call is refused with that has a field beyond its rule."""
    with pytest.raises(aio.AioRpcError) as error:
        await call
    assert reason_of(error.value) == "INVALID_FIELD"
    return error.value.details() or ""


async def test_x3_x6_contracts_and_credentials_for_other_hosts_are_refused() -> None:
    store = await MemoryStore.open()
    async with (
        running_chassis(lambda _policies: ActedBox(), store=store) as boxed,
        served(boxed) as calls,
    ):
        await boxed.fabric.coordinator.register_swarm("s", frozenset({"any"}))
        await boxed.fabric.create(new_task("t"))
        await boxed.fabric.coordinator.claims.claim_anew("s", "t", TTL)
        install(boxed, "*.example.org")
        rule = "must be on a host of chassis.allowed_hosts of policy cafe: *.example.org"

        contract = ServiceContract(allowed_calls=["http"], endpoints=[API, EVIL])
        load = LoadSwarmRequest(swarm_id="s", module=b"m", contract=contract)
        assert f"contract.endpoints[1].url: {rule}" in await refused(calls.LoadSwarm(load))
        del contract.endpoints[1]
        load.contract.CopyFrom(contract)
        assert (await calls.LoadSwarm(load)).swarm.swarm_id == "s"

        issue = IssueCredentialRequest(swarm_id="s", task_id="t", attempt=1, endpoints=[EVIL, API])
        assert f"endpoints[0].url: {rule}" in await refused(calls.IssueCredential(issue))
        del issue.endpoints[0]
        token = (await calls.IssueCredential(issue)).token

        asked = ValidateCredentialRequest(token=token, method="GET", url=API.url)
        assert (await calls.ValidateCredential(asked)).valid
        # One that changes meanwhile holds for the next question.
        install(boxed)
        verdict = await calls.ValidateCredential(asked)
        assert (verdict.valid, verdict.denial) == (False, CREDENTIAL_DENIAL_HOST)
        told = await refused(calls.IssueCredential(issue))
        assert "chassis.allowed_hosts of policy cafe: none" in told
        install(boxed, "api.example.org")
        verdict = await calls.ValidateCredential(asked)
        assert (verdict.valid, verdict.denial) == (True, CREDENTIAL_DENIAL_UNSPECIFIED)
    await store.close()
