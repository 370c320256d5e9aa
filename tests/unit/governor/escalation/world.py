"""A desk over a store in memory, with alarms for causes, for tests."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from pydantic import BaseModel, ConfigDict

from infrafabric_server.clock import Clock
from infrafabric_server.fleet.leadership import Leadership, SoleLeader, while_leading
from infrafabric_server.governor.escalation.desk import Desk
from infrafabric_server.governor.escalation.models import Cause, Escalation, Kind
from infrafabric_server.governor.escalation.records import MAX_KEPT, MAX_WAITING, EscalationRecords
from infrafabric_server.governor.escalation.sender import Retrying, Sender
from infrafabric_server.governor.escalation.sources import ViewSource
from infrafabric_server.governor.escalation.webhook import Webhook
from infrafabric_server.governor.policy.book import PolicyBook
from infrafabric_server.store.memory import MemoryData, MemoryStore
from infrafabric_server.store.mirror import Mirror, View
from infrafabric_server.store.protocol import Store
from infrafabric_server.witness.models import Draft
from infrafabric_server.witness.outbox import Outbox
from tests.harness.lines import Line
from tests.unit.notify.world import PATIENCE, ManualClock


class Alarm(BaseModel):
    """Something that wants a person while it is there."""

    model_config = ConfigDict(frozen=True)

    cause: Cause


@dataclass(frozen=True, slots=True)
class World:
    """A running desk and what causes its escalations."""

    desk: Desk
    alarms: View[Alarm]
    mirror: Mirror
    store: Store
    clock: Clock

    def get(self, subject: str, kind: Kind = Kind.POLICY) -> Escalation | None:
        """Return the escalation of a subject as it is."""
        return self.desk.records.escalations.get(f"{kind}:{subject}")

    async def alarm(
        self, subject: str, summary: str = "it is wrong", *, kind: Kind = Kind.POLICY
    ) -> None:
        """Have something last that wants a person."""
        now = self.clock.now()
        cause = Cause(kind=kind, subject=subject, since=now, summary=summary)
        put = self.alarms.put(f"{subject}", Alarm(cause=cause))
        await self.mirror.commit([], [put])

    async def end(self, subject: str) -> None:
        """Have it be over."""
        await self.mirror.commit([], [self.alarms.delete(subject)])

    async def until(self, holds: Callable[[], bool]) -> None:
        """Return when `holds`, looked at after each change."""
        changed = asyncio.Event()
        records = self.desk.records
        stops = [
            view.subscribe(lambda _change: changed.set())
            for view in (records.escalations, records.deliveries)
        ]
        try:
            async with asyncio.timeout(PATIENCE):
                while not holds():
                    changed.clear()
                    await changed.wait()
        finally:
            for stop in stops:
                stop()

    async def opened(self, subject: str, kind: Kind = Kind.POLICY) -> Escalation:
        """Have something want a person, and return the escalation."""
        await self.alarm(subject, kind=kind)
        await self.until(lambda: self.get(subject, kind) is not None)
        found = self.get(subject, kind)
        assert found is not None
        return found

    async def recorded(self) -> list[tuple[str, str]]:
        """Return the operation and the escalation of each witness entry that waits."""
        page = await self.store.range("outbox/", limit=10_000)
        drafts = [Draft.model_validate_json(kv.value) for kv in page.kvs]
        return [(each.operation, str(each.details["escalation_id"])) for each in drafts]

    def pass_time(self, by: timedelta) -> None:
        """Let time pass on a clock that a test moves, and the desk notice."""
        assert isinstance(self.clock, ManualClock)
        self.clock.advance(by)
        self.desk.wake()


def _of_kind(kind: Kind, alarm: Alarm) -> Cause | None:
    return alarm.cause if alarm.cause.kind is kind else None


@asynccontextmanager
async def world(
    data: MemoryData | None = None,
    *,
    clock: Clock | None = None,
    hooks: Sequence[Webhook] = (),
    retrying: Retrying | None = None,
    leadership: Leadership | None = None,
    wrap: Callable[[Store], Store] = lambda store: store,
    line: Line | None = None,
    limit: int = MAX_KEPT,
    most_waiting: int = MAX_WAITING,
) -> AsyncIterator[World]:
    """Run a desk and its webhooks until the block ends; on a `line`, as one of several."""
    clock = clock or ManualClock()
    leadership = leadership or SoleLeader()
    async with AsyncExitStack() as stack:
        store: Store
        if line is not None:
            store = line
        else:
            store = wrap(await MemoryStore.open(data or MemoryData(), clock=clock))
            stack.push_async_callback(store.close)
        mirror = Mirror(store, shared=line is not None)
        alarms = mirror.view("alarms/", Alarm)
        records = EscalationRecords(
            mirror,
            Outbox(clock, secrets.token_hex(4), ()),
            clock,
            [hook.name for hook in hooks],
            limit=limit,
            most_waiting=most_waiting,
        )
        sources = [ViewSource(f"{kind}:", alarms, partial(_of_kind, kind)) for kind in Kind]
        desk = Desk(records, sources, PolicyBook(), leadership, retry_seconds=0.001)
        sender = Sender(
            records,
            hooks,
            leadership,
            retrying=retrying,
            random=lambda: 0.0,
            retry_seconds=0.001,
        )
        await mirror.start()
        group = await stack.enter_async_context(asyncio.TaskGroup())
        for run in (
            mirror.run(),
            while_leading(leadership, desk.run),
            while_leading(leadership, sender.run),
        ):
            stack.callback(group.create_task(run).cancel)
        yield World(desk, alarms, mirror, store, clock)
