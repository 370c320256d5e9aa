import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from grpc import StatusCode, aio
from prometheus_client import CollectorRegistry

from infrafabric.v1 import witness_service_pb2
from infrafabric.v1.entry_pb2 import Entry
from infrafabric.v1.witness_service_pb2 import QueryEntriesRequest, TailEntriesRequest
from infrafabric.v1.witness_service_pb2_grpc import (
    WitnessServiceStub,
    add_WitnessServiceServicer_to_server,
)
from infrafabric_server.edge.grpc_server import GrpcServer, Service
from infrafabric_server.edge.times import to_timestamp
from infrafabric_server.store.memory import MemoryStore
from infrafabric_server.store.protocol import Put
from infrafabric_server.witness.chain import verify
from infrafabric_server.witness.memory_log import MemoryWitnessLog
from infrafabric_server.witness.service import WitnessService
from tests.unit.edge.probe import refusal
from tests.unit.witness.support import START, Running, drafts, running

NAME = witness_service_pb2.DESCRIPTOR.services_by_name["WitnessService"].full_name


@dataclass(frozen=True)
class Served:
    """A witness behind a real server, and a client of it."""

    it: Running
    stub: WitnessServiceStub
    server: GrpcServer

    async def decide(self, count: int, text: str = "übrig") -> None:
        """Decide `count` times in one transaction."""
        puts = [Put(kv.key, kv.value.replace("übrig", text)) for kv in drafts(count)]
        await self.it.store.txn([], puts)

    async def pages(self, size: int = 0, **filters: Any) -> list[list[Entry]]:
        """Return all pages of a query."""
        found: list[list[Entry]] = []
        token = ""
        while token or not found:
            answer = await self.stub.QueryEntries(
                QueryEntriesRequest(page_size=size, page_token=token, **filters)
            )
            found.append(list(answer.entries))
            token = answer.next_page_token
        return found


@asynccontextmanager
async def served() -> AsyncIterator[Served]:
    """Serve a witness on a free port until the block ends."""
    store = await MemoryStore.open()
    async with running(store, MemoryWitnessLog()) as it:
        add = partial(add_WitnessServiceServicer_to_server, WitnessService(it.witness))
        server = GrpcServer("127.0.0.1:0", [Service(NAME, add)], CollectorRegistry())
        port = await server.start()
        async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield Served(it, WitnessServiceStub(channel), server)
        await server.stop(0)
    await store.close()


async def test_w2_an_entry_says_what_its_body_says() -> None:
    async with served() as fabric:
        await fabric.decide(2)
        ((_, entry),) = await fabric.pages()
    assert MessageToDict(entry, preserving_proto_field_name=True) | {"body": ""} == {
        "sequence": "2",
        "entry_id": entry.entry_id,
        "decide_time": "2026-01-02T03:04:06.678901Z",
        "component": "coordinator",
        "operation": "claim_won",
        "swarm_id": "swarm-1",
        "task_id": "task-1",
        "attempt": "1",
        "details": {"cost_micros": 1, "note": "übrig\n", "list": [1, None, True, {"a": "b"}]},
        "body": "",
        "previous_hash": entry.previous_hash,
        "hash": entry.hash,
    }


async def test_w2_pages_hold_all_entries_as_one_chain() -> None:
    async with served() as fabric:
        await fabric.decide(250)
        pages = await fabric.pages()
        assert [len(page) for page in pages] == [100, 100, 50]
        assert verify([entry for page in pages for entry in page]).sequence == 250
        assert [len(page) for page in await fabric.pages(size=125)] == [125, 125]


async def test_w2_filters_reach_the_log() -> None:
    async with served() as fabric:
        await fabric.decide(60)

        async def found(**filters: Any) -> list[int]:
            return [entry.sequence for page in await fabric.pages(7, **filters) for entry in page]

        assert await found(component="notify") == list(range(1, 61, 3))
        assert await found(operation="claim_won") == list(range(2, 61, 2))
        assert await found(swarm_id="swarm-3", task_id="task-4") == [20, 40, 60]
        second = timedelta(seconds=1)
        after, before = to_timestamp(START + 9 * second), to_timestamp(START + 12 * second)
        assert await found(after=after, before=before) == [10, 11, 12]
        assert await found(before=after, after=before) == []


async def test_large_entries_are_spread_over_pages_that_fit_into_messages() -> None:
    async with served() as fabric:
        # A list of small numbers is ten times as large on the wire as in JSON.
        await fabric.decide(100, "x" * 60_000)
        pages = await fabric.pages(1000)
        assert len(pages) > 1
        assert verify([entry for page in pages for entry in page]).sequence == 100


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (QueryEntriesRequest(swarm_id="a b"), "INVALID_FIELD"),
        (QueryEntriesRequest(component="?"), "INVALID_FIELD"),
        (QueryEntriesRequest(page_size=1001), "INVALID_FIELD"),
        (QueryEntriesRequest(page_token="made-up"), "INVALID_PAGE_TOKEN"),
        (TailEntriesRequest(task_id="-"), "INVALID_FIELD"),
        (TailEntriesRequest(after_sequence=-1), "INVALID_FIELD"),
        (TailEntriesRequest(after_sequence=1), "INVALID_FIELD"),
    ],
)
async def test_bad_requests_are_refused(
    request_: QueryEntriesRequest | TailEntriesRequest, reason: str
) -> None:
    async with served() as fabric:
        call: Awaitable[object] = (
            fabric.stub.QueryEntries(request_)
            if isinstance(request_, QueryEntriesRequest)
            else fabric.stub.TailEntries(request_).read()
        )
        with pytest.raises(aio.AioRpcError) as caught:
            await call
        assert refusal(caught.value) == (StatusCode.INVALID_ARGUMENT, reason)


async def test_a_page_token_is_good_for_the_same_filters_only() -> None:
    async with served() as fabric:
        await fabric.decide(20)
        answer = await fabric.stub.QueryEntries(QueryEntriesRequest(page_size=5))
        other = QueryEntriesRequest(swarm_id="swarm-1", page_token=answer.next_page_token)
        with pytest.raises(aio.AioRpcError) as caught:
            await fabric.stub.QueryEntries(other)
        assert refusal(caught.value) == (StatusCode.INVALID_ARGUMENT, "INVALID_PAGE_TOKEN")


async def test_w2_a_tail_sends_what_is_there_and_then_what_comes() -> None:
    async with served() as fabric:
        await fabric.decide(3)
        stream = fabric.stub.TailEntries(TailEntriesRequest(after_sequence=1))
        seen: list[int] = []
        async with asyncio.timeout(20):
            async for response in stream:
                seen += [entry.sequence for entry in response.entries]
                if seen == [2, 3]:
                    await fabric.it.decide("new", "newer")
                if len(seen) == 4:
                    break
        stream.cancel()
    assert seen == [2, 3, 4, 5]


async def test_c11_a_tail_ends_when_the_server_stops() -> None:
    async with served() as fabric:
        await fabric.decide(1)
        stream = fabric.stub.TailEntries(TailEntriesRequest(after_sequence=0))
        await stream.read()
        async with asyncio.timeout(10):
            await fabric.server.stop(30)
        with pytest.raises(aio.AioRpcError) as caught:
            await stream.read()
        assert refusal(caught.value) == (StatusCode.UNAVAILABLE, "DRAINING")
