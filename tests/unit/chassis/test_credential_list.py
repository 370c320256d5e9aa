"""X6: who asks is shown all credentials, page by page, with their states and without secrets."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from grpc import aio

from infrafabric.v1 import chassis_credential_pb2 as pb
from infrafabric.v1.chassis_service_pb2_grpc import ChassisServiceStub
from infrafabric_server.chassis.credentials.models import (
    MAX_CREDENTIALS,
    MAX_ENDPOINTS,
    METHODS,
    Credential,
    Denial,
    Endpoint,
    TaskCredentials,
)
from infrafabric_server.coordinator.registration import Joining
from infrafabric_server.limits import MAX_BOARD_BYTES
from infrafabric_server.store.memory import MemoryStore
from tests.harness.fabric import new_task
from tests.unit.chassis.boxes import TTL, ActedBox, Boxed, running_chassis, served
from tests.unit.chassis.standings import NEEDS
from tests.unit.edge.probe import reason_of

LIVE, REVOKED = pb.CREDENTIAL_STATE_LIVE, pb.CREDENTIAL_STATE_REVOKED
ENDED = pb.CREDENTIAL_STATE_CLAIM_ENDED
HERE = Endpoint(scheme="https", host="example.org", port=443, path="/", methods=("GET",))
LONG = HERE.model_copy(update={"host": "h" * 63, "path": f"/{'p' * 500}", "methods": METHODS})


@pytest.fixture
async def boxed() -> AsyncIterator[Boxed]:
    store = await MemoryStore.open()
    async with running_chassis(lambda _policies: ActedBox(), store=store) as running:
        for swarm_id in ("a", "b"):
            joining = Joining(swarm_id, NEEDS, 0, None, 64)
            await running.fabric.coordinator.registration.register(joining)
        yield running
    await store.close()


@pytest.fixture
async def calls(boxed: Boxed) -> AsyncIterator[ChassisServiceStub]:
    async with served(boxed) as stub:
        yield stub


async def issue(boxed: Boxed, swarm_id: str, task_id: str, *endpoints: Endpoint) -> str:
    """Have a swarm hold a task, and issue a credential; return its id."""
    if boxed.fabric.coordinator.tasks.get(task_id) is None:
        await boxed.fabric.create(new_task(task_id))
        await boxed.fabric.coordinator.claims.claim_anew(swarm_id, task_id, TTL)
    life = timedelta(minutes=1)
    issued = await boxed.credentials.issue(swarm_id, task_id, 1, life, endpoints or (HERE,))
    return issued.credential.credential_id


async def pages(
    calls: ChassisServiceStub, request: pb.ListCredentialsRequest
) -> list[list[tuple[str, pb.CredentialState.ValueType]]]:
    """Return the credentials of each page, with their states."""
    found = []
    while True:
        answer = await calls.ListCredentials(request)
        found.append([(each.credential.credential_id, each.state) for each in answer.credentials])
        if not answer.next_page_token:
            return found
        request.page_token = answer.next_page_token


async def test_x6_a_list_has_every_credential_once_and_its_state(
    boxed: Boxed, calls: ChassisServiceStub
) -> None:
    one, two = await issue(boxed, "a", "t1"), await issue(boxed, "a", "t1")
    three, four = await issue(boxed, "b", "t2"), await issue(boxed, "a", "t3")
    await boxed.credentials.revoke(two)
    await boxed.fabric.coordinator.claims.release("a", "t3", 1, "no time")
    everything = [(one, LIVE), (two, REVOKED), (three, LIVE), (four, ENDED)]
    assert await pages(calls, pb.ListCredentialsRequest()) == [everything]
    # A page has whole tasks.
    by_task = [everything[:2], everything[2:3], everything[3:]]
    assert await pages(calls, pb.ListCredentialsRequest(page_size=1)) == by_task
    of_b = pb.ListCredentialsRequest(swarm_id="b")
    assert await pages(calls, of_b) == [everything[2:3]]
    live = pb.ListCredentialsRequest(state=LIVE, page_size=2)
    assert await pages(calls, live) == [[(one, LIVE), (three, LIVE)], []]


async def test_x6_a_page_is_no_larger_than_a_message(
    boxed: Boxed, calls: ChassisServiceStub
) -> None:
    expected = [
        await issue(boxed, "ab"[n % 2], f"t{n:02}", *[LONG] * MAX_ENDPOINTS)
        for n in range(90)
        for _ in range(MAX_CREDENTIALS)
    ]
    request = pb.ListCredentialsRequest(page_size=1000)
    assert (await calls.ListCredentials(request)).ByteSize() <= MAX_BOARD_BYTES + 100
    found = await pages(calls, request)
    assert len(found) > 1
    assert [id_ for page in found for id_, _ in page] == expected


async def test_x6_others_have_their_turn_while_credentials_are_listed(
    boxed: Boxed, calls: ChassisServiceStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(128):
        await issue(boxed, "ab"[n % 2], f"t{n:03}")
    turns, listed = 0, Counter[int]()
    of_task = boxed.credentials.listed

    def noted(held: TaskCredentials) -> list[tuple[Credential, Denial | None]]:
        listed[turns] += 1
        return of_task(held)

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    monkeypatch.setattr(boxed.credentials, "listed", noted)
    beside = asyncio.create_task(others())
    answer = await calls.ListCredentials(pb.ListCredentialsRequest(page_size=1000))
    beside.cancel()
    assert len(answer.credentials) == listed.total() == 128
    assert max(listed.values()) <= 64


async def test_x6_a_list_refuses_what_it_does_not_know(calls: ChassisServiceStub) -> None:
    for request, reason in (
        # A state that there is not: 77.
        (pb.ListCredentialsRequest.FromString(b"\x10\x4d"), "INVALID_FIELD"),
        (pb.ListCredentialsRequest(swarm_id="a b"), "INVALID_FIELD"),
        (pb.ListCredentialsRequest(page_size=1001), "INVALID_FIELD"),
        (pb.ListCredentialsRequest(page_token="x"), "INVALID_PAGE_TOKEN"),
    ):
        with pytest.raises(aio.AioRpcError) as error:
            await calls.ListCredentials(request)
        assert reason_of(error.value) == reason
