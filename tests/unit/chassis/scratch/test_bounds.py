"""X2, X3: what a task may keep, what of it is refused and why, and what the store's failures do."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from infrafabric_server.chassis.contract import KV, ServiceContract
from infrafabric_server.chassis.hosts import GuestHost
from infrafabric_server.chassis.models import LoadedSwarm, ModuleKind
from infrafabric_server.chassis.sandbox.host import CallDenied, CallFailed
from infrafabric_server.chassis.scratch.requests import MAX_VALUE_BYTES
from infrafabric_server.chassis.scratch.scratch import (
    MAX_ALL_BYTES,
    MAX_KEYS,
    MAX_TASK_BYTES,
    Scratch,
    ScratchHead,
)
from infrafabric_server.coordinator import rules
from infrafabric_server.coordinator.models import Dispatch, Task, TaskSpec
from infrafabric_server.store.mirror import Mirror
from infrafabric_server.store.protocol import Put
from tests.harness.documents import ROOT
from tests.unit.store.kit import FailingStore, running

NOW = datetime(2030, 1, 1, tzinfo=UTC)
RULE = 'kv takes {"operation": "get", "put" or "delete"'


class World:
    """A store with a task that is held, and the host of its guest."""

    def __init__(self, store: FailingStore, mirror: Mirror) -> None:
        self.store = store
        self.mirror = mirror
        self.tasks = mirror.view("tasks/", Task)
        self.scratch = Scratch(store, mirror, self.tasks)
        self.host = host("kv", scratch=self.scratch)

    async def hold(self) -> None:
        new = rules.create(TaskSpec(task_id="t", create_time=NOW), Dispatch.MANUAL, ready=True)
        held = rules.claim(new, "s", NOW, ttl=timedelta(seconds=15))
        await self.mirror.commit([], [self.tasks.put("t", held)])

    async def ask(self, operation: str, key: str, value: str | None = None) -> str:
        asked = {"operation": operation, "key": key}
        if value is not None:
            asked["value"] = value
        return (await self.host.call(KV, json.dumps(asked).encode())).decode()


def host(*granted: str, scratch: Scratch | None = None) -> GuestHost:
    contract = ServiceContract(allowed_calls=frozenset(granted))
    loaded = LoadedSwarm(
        swarm_id="s",
        module_sha256="0" * 64,
        size=1,
        kind=ModuleKind.CORE,
        contract=contract,
        load_time=NOW,
    )
    if scratch is None:
        return GuestHost(loaded, "t")
    return GuestHost(loaded, "t", scratch=partial(scratch.answer, "s", "t", 1))


@pytest.fixture
async def world() -> AsyncIterator[World]:
    store = await FailingStore.open()
    mirror = Mirror(store)
    made = World(store, mirror)
    async with running(mirror):
        await made.hold()
        yield made
    await store.close()


async def test_x3_a_guest_reads_what_was_kept(world: World) -> None:
    assert await world.ask("get", "a/b") == "{}"
    for value in ("", "1", 'a "quoted" text \u0000 ü \U0001f600'):
        assert await world.ask("put", "a/b", value) == "{}"
        assert json.loads(await world.ask("get", "a/b")) == {"value": value}
    assert await world.ask("get", "a") == "{}"
    assert await world.ask("delete", "a/b") == "{}"
    assert await world.ask("delete", "a/b") == "{}"
    assert await world.ask("get", "a/b") == "{}"
    assert not len(world.scratch.heads)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"\xff",
        b"[" * 100_000,
        b'{"operation":"list","key":"a"}',
        b'{"operation":"put","key":"a"}',
        b'{"operation":"put","key":"a","value":1}',
        b'{"operation":"put","key":"a","value":"\\ud800"}',
        b'{"operation":"get","key":"a","value":"1"}',
        b'{"operation":"get","key":""}',
        b'{"operation":"get","key":"../t2/a"}',
        b'{"operation":"get","key":"a\\n"}',
        b'{"operation":"get","key":"%s"}' % (b"k" * 129),
    ],
)
async def test_x3_what_is_no_request_is_refused_with_what_one_is(world: World, body: bytes) -> None:
    before = await world.store.revision()
    with pytest.raises(CallFailed, match=RULE):
        await world.host.call(KV, body)
    assert await world.store.revision() == before


async def test_x2_a_key_and_a_value_are_bounded(world: World) -> None:
    longest = "v" * (MAX_VALUE_BYTES - 2)
    assert await world.ask("put", "k" * 128, longest) == "{}"
    assert json.loads(await world.ask("get", "k" * 128)) == {"value": longest}
    for value in (longest + "v", "\0" * (MAX_VALUE_BYTES // 6 + 1), "ü" * MAX_VALUE_BYTES):
        with pytest.raises(CallFailed, match=f"at most {MAX_VALUE_BYTES} bytes as JSON text"):
            await world.ask("put", "a", value)


async def test_x2_a_task_keeps_so_many_keys(world: World) -> None:
    for number in range(MAX_KEYS):
        await world.ask("put", f"k{number}", "")
    with pytest.raises(CallFailed, match=f"kv: a task keeps at most {MAX_KEYS} keys"):
        await world.ask("put", "more", "")
    await world.ask("put", "k0", "changed")
    await world.ask("delete", "k1")
    await world.ask("put", "more", "")


async def test_x2_a_task_keeps_so_many_bytes(world: World) -> None:
    large = "v" * (MAX_VALUE_BYTES - 2 - len("k00"))
    for number in range(MAX_TASK_BYTES // MAX_VALUE_BYTES):
        await world.ask("put", f"k{number:02}", large)
    head = world.scratch.heads.get("t")
    assert head is not None
    assert head.bytes == MAX_TASK_BYTES
    for key, value in (("m", ""), ("k00", large + "v")):
        with pytest.raises(CallFailed, match=f"at most {MAX_TASK_BYTES} bytes together"):
            await world.ask("put", key, value)
    await world.ask("put", "k00", "")
    await world.ask("put", "m", "")


async def test_x2_all_tasks_together_keep_so_many_bytes(world: World) -> None:
    heads = world.scratch.heads
    most = ScratchHead(keys=1, bytes=MAX_ALL_BYTES - 5)
    await world.mirror.commit([], [heads.put("others", most)])
    await world.ask("put", "a", "12")
    with pytest.raises(CallFailed, match=f"all tasks together keep at most {MAX_ALL_BYTES} bytes"):
        await world.ask("put", "a", "1234")
    await world.scratch.sweep()
    assert set(heads) == {"t"}, "no task has that id"
    await world.ask("put", "a", "1234")


async def test_x3_a_run_without_a_claim_or_a_grant_keeps_nothing(world: World) -> None:
    asked = b'{"operation":"get","key":"a"}'
    with pytest.raises(CallFailed, match="only a task that was claimed has scratch space"):
        await host("kv").call(KV, asked)
    with pytest.raises(CallDenied):
        await host("http", "progress", scratch=world.scratch).call(KV, asked)


async def test_x3_who_lost_the_task_is_refused(world: World) -> None:
    await world.ask("put", "a", "1")
    task = world.tasks.get("t")
    assert task is not None
    later = rules.take_over(task, NOW)
    await world.mirror.commit([], [world.tasks.put("t", later)])
    for operation, value in (("get", None), ("put", "2"), ("delete", None)):
        with pytest.raises(CallFailed, match="kv: attempt 1 of task t is stale"):
            await world.ask(operation, "a", value)
    assert await world.scratch.get("s", "t", 2, "a") == "1"


async def test_x3_an_answer_that_got_lost_counts_nothing_twice(world: World) -> None:
    world.store.lost_after = 1
    with pytest.raises(CallFailed, match="the store did not answer"):
        await world.ask("put", "a", "1")
    world.store.lost_before = 1
    with pytest.raises(CallFailed, match="the store did not answer"):
        await world.ask("put", "b", "1")
    await world.ask("put", "a", "1")
    assert world.scratch.heads.get("t") == ScratchHead(keys=1, bytes=4)


async def test_x3_a_value_that_was_damaged_is_told_and_can_be_replaced(world: World) -> None:
    await world.ask("put", "a", "1")
    await world.store.txn([], [Put("scratch/t/a", "damage")])
    with pytest.raises(CallFailed, match="the value of scratch/t/a is no JSON"):
        await world.ask("get", "a")
    await world.ask("put", "a", "2")
    assert await world.ask("get", "a") == '{"value":"2"}'


def test_x2_the_guide_names_the_bounds() -> None:
    guide = (ROOT / "docs" / "chassis.md").read_text()
    for row in (
        f"| a value | {MAX_VALUE_BYTES // 1024} KiB, as JSON text |",
        f"| keys of a task | {MAX_KEYS} |",
        f"| keys and values of a task | {MAX_TASK_BYTES // 1024} KiB |",
        f"| of all tasks | {MAX_ALL_BYTES // 1024**2} MiB |",
    ):
        assert row in guide
