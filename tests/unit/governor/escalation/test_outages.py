"""Escalations and deliveries on a store that answers only sometimes, and says less than it did."""

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from infrafabric_server.clock import SystemClock
from infrafabric_server.governor.escalation.models import Escalation, State
from infrafabric_server.governor.escalation.webhook import Webhook
from infrafabric_server.store.memory import MemoryData
from infrafabric_server.store.protocol import (
    Compare,
    Delete,
    Op,
    Put,
    StoreError,
    StoreFull,
    StoreUnavailable,
    TxnResult,
)
from tests.harness.webhook import TAKEN, raw, receiving
from tests.unit.governor.escalation.world import World, world
from tests.unit.notify.stores import Wrapped

# What becomes of the writes of escalations and deliveries, one after the other; then all is well.
PLANS = st.lists(st.sampled_from(["done", "full", "lost", "done without an answer"]), max_size=8)


class Unsteady(Wrapped):
    """A store that does with each write of ours what the plan says."""

    plan: list[str]

    async def txn(
        self, compares: Sequence[Compare], success: Sequence[Op], failure: Sequence[Op] = ()
    ) -> TxnResult:
        ours = any(isinstance(op, Put | Delete) and _ours(op.key) for op in success)
        happens = self.plan.pop(0) if ours and self.plan else "done"
        if happens == "full":
            raise StoreFull("no space left")
        if happens == "lost":
            raise StoreUnavailable("no answer")
        result: TxnResult = await self.inner.txn(compares, success, failure)
        if happens != "done":
            raise StoreUnavailable("no answer")
        return result


def _ours(key: str) -> bool:
    return key.startswith(("escalations/", "deliveries/"))


async def acknowledged(it: World) -> Escalation:
    """Acknowledge as a caller does that repeats what was not answered."""
    while True:
        try:
            return await it.desk.acknowledge("policy:one", "mary", "")
        except StoreError:
            continue


@settings(max_examples=12, deadline=None)
@given(PLANS, PLANS)
async def test_g7_whatever_the_store_answers_each_step_happens_once(
    plan: list[str], later: list[str]
) -> None:
    data = MemoryData()

    async with receiving(raw(TAKEN)) as receiver:
        hook = Webhook("pager", receiver.url, secret="k")

        def unsteady(plan: list[str]) -> type[Unsteady]:
            return type("Planned", (Unsteady,), {"plan": plan})

        async with world(data, clock=SystemClock(), hooks=[hook], wrap=unsteady(plan)) as it:
            await it.alarm("one")
            await it.until(lambda: it.get("one") is not None)
            await acknowledged(it)
        async with world(data, clock=SystemClock(), hooks=[hook], wrap=unsteady(later)) as it:
            await it.end("one")
            await it.until(lambda: (e := it.get("one")) is not None and e.state is State.CLOSED)
            await it.until(lambda: not len(it.desk.records.deliveries))
            assert await it.recorded() == [
                ("escalation_opened", "policy:one"),
                ("escalation_acknowledged", "policy:one"),
                ("escalation_closed", "policy:one"),
            ]
    ids = [headers["infrafabric-delivery"] for headers, _ in receiver.requests]
    told = dict(zip(ids, receiver.events, strict=True))
    assert sorted(told.values()) == [
        "escalation_acknowledged",
        "escalation_closed",
        "escalation_opened",
    ], "each is told, some perhaps again with the same id"
