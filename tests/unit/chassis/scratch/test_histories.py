"""X3, C10: whatever is lost, late or dead, scratch space shows what its holders wrote, no more."""

import asyncio
from bisect import bisect
from collections.abc import Awaitable
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from hypothesis import event, given, settings
from hypothesis import strategies as st

from infrafabric_server.chassis.scratch.scratch import VALUES, Scratch, ScratchHead
from infrafabric_server.coordinator import rules
from infrafabric_server.coordinator.models import Dispatch, LossKind, Task, TaskSpec
from infrafabric_server.errors import FabricError, Reason
from infrafabric_server.store.memory import MemoryStore
from infrafabric_server.store.mirror import Mirror, View
from infrafabric_server.store.protocol import Delete, KeyValue, StoreClosed, unchanged
from tests.harness.lines import Line

NOW = datetime(2030, 1, 1, tzinfo=UTC)
TTL = timedelta(seconds=30)
REPLICAS = 2
# Loop turns in which everything happens that nothing holds up; a step may have fewer.
ENOUGH = 60
OVER = (
    Reason.STALE_ATTEMPT,
    Reason.TASK_ENDED,
    Reason.TASK_NOT_CLAIMED,
    Reason.TASK_NOT_FOUND,
)

HOLDER = 0
KEYS = st.sampled_from(["a", "b"])
BACK = st.sampled_from([HOLDER, HOLDER, HOLDER, 1, 2])
PLACE = st.integers(0, REPLICAS - 1)
STEPS = st.lists(
    st.tuples(
        st.one_of(
            st.tuples(st.just("put"), KEYS, BACK),
            st.tuples(st.just("put"), KEYS, BACK),
            st.tuples(st.sampled_from(["get", "delete"]), KEYS, BACK),
            st.tuples(st.sampled_from(["claim", "kill"]), st.none(), PLACE),
            st.tuples(st.sampled_from(["freeze", "thaw", "hold_back"]), st.none(), PLACE),
            st.tuples(st.sampled_from(["extend", "sweep"]), st.none(), PLACE),
        ),
        st.integers(0, ENOUGH),
    ),
    min_size=10,
    max_size=40,
)


@dataclass
class Replica:
    """A server as the store sees it."""

    line: Line
    mirror: Mirror
    tasks: View[Task]
    scratch: Scratch
    serving: asyncio.Task[None]

    async def close(self) -> None:
        await self.mirror.close()
        await self.serving


@dataclass
class Trial:
    """One task, the attempts at it, and what each was told."""

    store: MemoryStore
    replicas: list[Replica] = field(default_factory=list)
    # The replica of each attempt, and the revision from which on it held the task.
    places: list[Replica] = field(default_factory=list)
    since: list[int] = field(default_factory=list)
    calls: list[asyncio.Task[None]] = field(default_factory=list)
    written: set[str] = field(default_factory=set)
    deleting: set[tuple[int, str]] = field(default_factory=set)
    read: list[tuple[int, int, str, str | None]] = field(default_factory=list)
    serial: int = 0

    async def start(self) -> Replica:
        line = Line(self.store)
        mirror = Mirror(line, shared=True)
        tasks = mirror.view("tasks/", Task)
        scratch = Scratch(line, mirror, tasks)
        await mirror.start()

        async def serve() -> None:
            with suppress(StoreClosed):
                await mirror.run()

        return Replica(line, mirror, tasks, scratch, asyncio.create_task(serve()))

    async def step(self, what: str, key: str | None, number: int) -> None:
        match what, key:
            case "claim", _:
                await self.claim(self.replicas[number])
            case "kill", _:
                self.replicas[number].line.cut()
                await self.replicas[number].close()
                self.replicas[number] = await self.start()
            case "freeze", _:
                self.replicas[number].line.freeze()
            case "thaw", _:
                self.replicas[number].line.thaw()
                self.replicas[number].line.let_go()
            case "hold_back", _:
                self.replicas[number].line.hold_back()
            case "extend", _:
                self.call(self.extend())
            case "sweep", _:
                self.call(self.replicas[number].scratch.sweep())
            case _, str(key):
                attempt = len(self.places) - number
                if attempt > 0:
                    self.call(self.ask(what, key, attempt))

    def call(self, work: Awaitable[None]) -> None:
        async def done() -> None:
            # Who asked is dead.
            with suppress(StoreClosed):
                await work

        self.calls.append(asyncio.create_task(done()))

    async def ask(self, what: str, key: str, attempt: int) -> None:
        """Do what a guest asks; only who has lost the task may be refused."""
        scratch = self.places[attempt - 1].scratch
        self.serial += 1
        value = f"{attempt}:{self.serial}"
        before = await self.store.revision()
        try:
            match what:
                case "put":
                    await scratch.put("s", "t", attempt, key, value)
                    self.written.add(value)
                case "delete":
                    self.deleting.add((attempt, key))
                    await scratch.delete("s", "t", attempt, key)
                case _:
                    found = await scratch.get("s", "t", attempt, key)
                    self.read.append((before, await self.store.revision(), key, found))
        except FabricError as error:
            if error.reason not in OVER:
                raise
            kv = await self.store.get("tasks/t")
            assert kv is None or not rules.holds(Task.model_validate_json(kv.value), "s", attempt)
            event(f"refused: {error.reason}")

    async def task(self) -> tuple[Task, KeyValue]:
        kv = await self.store.get("tasks/t")
        assert kv is not None
        return Task.model_validate_json(kv.value), kv

    async def claim(self, place: Replica) -> None:
        """Have the claim of the task taken back, and another replica claim it."""
        place.line.thaw()
        task, kv = await self.task()
        if task.claim is not None:
            task = rules.lose(task, LossKind.EXPIRED)
        held = rules.claim(task, "s", NOW, ttl=TTL)
        result = await place.mirror.commit(
            [unchanged(kv.key, kv.mod_revision)], [place.tasks.put("t", held)]
        )
        if result.succeeded:
            self.places.append(place)
            self.since.append(result.revision)

    async def extend(self) -> None:
        task, kv = await self.task()
        if task.claim is not None:
            place = self.places[-1]
            put = place.tasks.put("t", rules.extend(task, NOW, TTL))
            await place.mirror.commit([unchanged(kv.key, kv.mod_revision)], [put])

    async def check(self) -> None:
        """Fail unless the whole history is one of holders alone, and of what they were told."""
        states: dict[int, dict[str, str]] = {0: {}}
        heads: dict[str, str] = {}
        shown: set[str] = set()
        newest = await self.store.revision()
        async with aclosing(self.store.watch("", 1)) as batches:
            async for batch in batches:
                attempt = bisect(self.since, batch.revision)
                state = dict(states[max(states)])
                for each in batch.events:
                    key = each.key.removeprefix(f"{VALUES}t/")
                    if each.key == "scratch_heads/t":
                        heads = {} if each.kv is None else {"t": each.kv.value}
                    elif each.key == key:
                        continue
                    elif each.kv is None:
                        assert (attempt, key) in self.deleting
                        del state[key]
                    else:
                        value = str(each.kv.value).strip('"')
                        assert value.startswith(f"{attempt}:"), (attempt, value)
                        shown.add(value)
                        state[key] = each.kv.value
                states[batch.revision] = state
                expected = sum(len(key) + len(value) for key, value in state.items())
                head = ScratchHead.model_validate_json(heads.get("t", "{}"))
                assert (head.keys, head.bytes) == (len(state), expected)
                if batch.revision == newest:
                    break
        assert self.written <= shown
        revisions = sorted(states)
        for first, last, key, found in self.read:
            between = revisions[bisect(revisions, first) - 1 : bisect(revisions, last)]
            known = {states[each].get(key) for each in between}
            assert (None if found is None else f'"{found}"') in known


@settings(max_examples=100, deadline=None)
@given(steps=STEPS)
def test_x3_c10_only_the_holder_changes_anything(
    steps: list[tuple[tuple[str, str | None, int], int]],
) -> None:
    asyncio.run(_try(steps))


async def _try(steps: list[tuple[tuple[str, str | None, int], int]]) -> None:
    store = await MemoryStore.open()
    trial = Trial(store)
    trial.replicas += [await trial.start() for _ in range(REPLICAS)]
    first = trial.replicas[0]
    new = rules.create(TaskSpec(task_id="t", create_time=NOW), Dispatch.MANUAL, ready=True)
    await first.mirror.commit([], [first.tasks.put("t", new)])
    await trial.claim(first)
    for (what, key, number), turns in steps:
        await trial.step(what, key, number)
        for _ in range(turns):
            await asyncio.sleep(0)
    for each in trial.replicas:
        each.line.thaw()
        each.line.let_go()
    await asyncio.gather(*trial.calls)
    await trial.check()
    await _end(trial)
    for each in trial.replicas:
        await each.close()
    await store.close()


async def _end(trial: Trial) -> None:
    """Complete the task and archive it or not: whoever sweeps, nothing is left."""
    task, kv = await trial.task()
    place = trial.replicas[0]
    ended = rules.complete(task, NOW, result_json="{}", cost_micros=0)
    archived = trial.serial % 2
    write = Delete(kv.key) if archived else place.tasks.put("t", ended)
    await place.mirror.commit([], [write])
    await asyncio.gather(*(each.scratch.sweep() for each in trial.replicas))
    await asyncio.gather(*(each.scratch.sweep() for each in trial.replicas))
    assert not (await trial.store.range("scratch")).kvs
    trial.call(trial.ask("put", "a", len(trial.places)))
    await asyncio.gather(*trial.calls)
    assert not (await trial.store.range("scratch")).kvs
