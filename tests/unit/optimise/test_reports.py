"""What was spent on what, and what of it was in vain."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infrafabric_server.optimise.models import Cost, Waste
from infrafabric_server.optimise.reports import Dimension, Question
from infrafabric_server.store.memory import MemoryStore
from infrafabric_server.store.protocol import Compacted, RangeResult, StoreUnavailable
from tests.unit.optimise.kit import START, Books, MovedClock, books, cost
from tests.unit.store.kit import running

_FIELDS = {
    Dimension.SWARM: "swarm_id",
    Dimension.OPERATION: "operation",
    Dimension.MODEL: "model",
    Dimension.TASK: "task_id",
}
_costs = st.builds(
    cost,
    st.sampled_from("ab"),
    st.integers(0, 99),
    st.integers(-300, 0).map(lambda minutes: START + timedelta(minutes=minutes)),
    operation=st.sampled_from(["llm", "tool"]),
    model=st.sampled_from(["", "m"]),
    task_id=st.sampled_from(["", "t"]),
    charge=st.booleans(),
    waste=st.none() | st.sampled_from(Waste),
)


def _of(each: Cost, by: frozenset[Dimension]) -> tuple[object, ...]:
    hour = each.time.replace(minute=0) if Dimension.HOUR in by else None
    return (hour, *(getattr(each, f) if d in by else "" for d, f in _FIELDS.items()))


@given(
    st.lists(_costs, max_size=12),
    st.lists(_costs, max_size=12),
    st.frozensets(st.sampled_from(Dimension), max_size=3),
    st.sampled_from(["", "a"]),
    st.sampled_from(["", "t"]),
    st.none() | st.integers(-200, 0),
    st.none() | st.integers(-200, 0),
)
async def test_g5_a_report_adds_up_what_is_asked_for_rolled_or_not(
    rolled: list[Cost],
    unrolled: list[Cost],
    by: frozenset[Dimension],
    swarm: str,
    task: str,
    after: int | None,
    before: int | None,
) -> None:
    question = Question(
        by,
        None if after is None else START + timedelta(minutes=after),
        None if before is None else START + timedelta(minutes=before),
        swarm,
        task,
    )
    async with books() as opened:
        await opened.charge(rolled)
        await opened.roll()
        await opened.charge(unrolled)
        report = await opened.reports.report(question)
    wanted = [
        each
        for each in (*rolled, *unrolled)
        if swarm in ("", each.swarm_id)
        and task in ("", each.task_id)
        and (question.after is None or each.time >= question.after.replace(minute=0))
        and (question.before is None or each.time.replace(minute=0) < question.before)
    ]
    groups = {_of(each, by) for each in wanted}
    found = {
        (line.hour, line.row.swarm_id, line.row.operation, line.row.model, line.row.task_id): (
            line.row.micros,
            line.row.count,
            line.row.fenced_micros,
        )
        for line in report.lines
    }
    assert found == {
        group: (
            sum(each.micros for each in wanted if each.charge and _of(each, by) == group),
            sum(each.charge for each in wanted if _of(each, by) == group),
            sum(
                each.micros
                for each in wanted
                if each.waste is Waste.FENCED and _of(each, by) == group
            ),
        )
        for group in groups
    }
    assert report.total.micros == sum(each.micros for each in wanted if each.charge)
    dear = [line.row.micros for line in report.lines]
    assert dear == sorted(dear, reverse=True)
    assert len({line.place for line in report.lines}) == len(report.lines)


@pytest.mark.parametrize("many", [1_000, 2_500])
async def test_g5_a_report_has_all_costs_that_were_not_added_up_yet(many: int) -> None:
    async with books() as opened:
        await opened.charge([cost("a", 1) for _ in range(many)])
        assert (await opened.reports.report(Question())).total.count == many


class Forgetful(MemoryStore):
    """A store that compacts its history while it is read."""

    times = 0

    async def range(
        self, prefix: str, *, limit: int = 1000, after: str = "", revision: int = 0
    ) -> RangeResult:
        if revision and self.times:
            self.times -= 1
            raise Compacted(revision + 1)
        return await super().range(prefix, limit=limit, after=after, revision=revision)


async def test_g5_a_report_begins_anew_when_the_store_forgot_what_it_read() -> None:
    store = await Forgetful.open()
    opened = Books.over(store, MovedClock())
    async with running(opened.mirror):
        await opened.charge([cost("a", 5)])
        store.times = 2
        assert (await opened.reports.report(Question())).total.micros == 5
        store.times = 3
        with pytest.raises(StoreUnavailable, match="compacted faster"):
            await opened.reports.report(Question())
    await store.close()


async def test_g5_a_report_may_be_of_all_the_time_that_there_is() -> None:
    ever = Question(after=datetime.min.replace(tzinfo=UTC), before=datetime.max.replace(tzinfo=UTC))
    async with books() as opened:
        await opened.charge([cost("a", 3)])
        assert (await opened.reports.report(ever)).total.micros == 3
