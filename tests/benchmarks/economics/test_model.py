"""The world of the simulation: what is drawn is as described, and nobody is favoured."""

import asyncio
import time
from collections import Counter
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.benchmarks.economics.attempts import Course, Ending, Luck, course, luck
from tests.benchmarks.economics.command import main
from tests.benchmarks.economics.families import BASE, FAMILIES
from tests.benchmarks.economics.model import Scenario
from tests.benchmarks.economics.regimes import (
    cheapest,
    first_able,
    first_idle,
    informed,
    round_robin,
)
from tests.benchmarks.economics.virtual_time import BEGIN, VirtualClock, run_virtually
from tests.benchmarks.economics.world import HOUR, ROGUES, Job, Kind, Swarm, draw

UNIT = st.floats(0, 1, exclude_max=True)
SEEDS = st.integers(0, 2**32)
SOME = settings(max_examples=25, deadline=None)


def swarm(
    swarm_id: str = "s", skills: set[str] | None = None, kind: Kind = Kind.HONEST, price: int = 100
) -> Swarm:
    has = frozenset(skills or {"a"})
    return Swarm(swarm_id, kind, has, has, hourly_micros=price, chance=0.9, speed=1.0)


def job(needs: set[str] | None = None) -> Job:
    return Job("j", 0.0, frozenset(needs or {"a"}), 0.5, 1.0, 0.5, 10_000_000)


@SOME
@given(seed=SEEDS, share=st.floats(0, 0.5), generalists=UNIT, tasks=st.integers(1, 60))
def test_what_is_drawn_is_as_described(
    seed: int, share: float, generalists: float, tasks: int
) -> None:
    said = BASE.model_dump()
    said["rogues"]["share"], said["skills"]["generalists"] = share, generalists
    said["work"]["tasks"] = tasks
    scenario = Scenario.model_validate(said)
    world = draw(scenario, seed)
    assert world == draw(scenario, seed)
    kinds = Counter(each.kind for each in world.swarms)
    rogues = [kinds[kind] for kind in ROGUES]
    assert sum(rogues) == round(share * scenario.swarms)
    assert max(rogues) - min(rogues) <= 1
    for each in world.swarms:
        assert each.skills <= each.claimed
        assert (each.skills == each.claimed) or each.kind is Kind.PRETENDING
        assert each.hourly_micros > 0
    arrivals = [each.arrival for each in world.jobs]
    assert arrivals == sorted(arrivals)
    assert len(arrivals) == tasks
    assert arrivals[-1] <= scenario.work.hours * HOUR


@SOME
@given(seed=SEEDS, number=st.integers(0, 9))
def test_other_rogues_change_neither_the_work_nor_the_honest(seed: int, number: int) -> None:
    none, some = (FAMILIES[name].part(0.01) for name in ("no-rogues", "rogues-20"))
    one, other = draw(none, seed), draw(some, seed)
    assert one.jobs == other.jobs
    pairs = zip(one.swarms, other.swarms, strict=True)
    assert all(a == b for a, b in pairs if b.honest)
    name = one.jobs[number].job_id
    assert luck(BASE, seed, name, 0) == luck(BASE, seed, name, 0) != luck(BASE, seed, name, 1)


@given(success=UNIT, unnoticed=UNIT, used=UNIT, noise=st.floats(0.2, 5), more=st.booleans())
def test_a_swarm_that_can_more_never_does_worse(
    success: float, unnoticed: float, used: float, noise: float, more: bool
) -> None:
    chance = Luck(success, unnoticed, used, noise)
    needs = job({"a", "b", "c"})
    lacking = swarm(skills={"a", "b"} if more else {"a"})
    less = course(BASE, lacking, needs, chance, None)
    full = course(BASE, replace(lacking, skills=needs.needs), needs, chance, None)
    assert less.unfit
    assert not full.unfit
    assert full.ending is Ending.SOUND or less.ending is not Ending.SOUND


@given(success=UNIT, used=UNIT, noise=st.floats(0.2, 5), ceiling=st.integers(1, 200))
def test_only_the_honest_stop_at_what_a_task_may_cost(
    success: float, used: float, noise: float, ceiling: int
) -> None:
    chance = Luck(success, 0.5, used, noise)

    def made(kind: Kind, most: int | None) -> Course:
        return course(BASE, swarm(kind=kind), job(), chance, most)

    honest, free = made(Kind.HONEST, ceiling), made(Kind.HONEST, None)
    assert honest.micros == min(ceiling, free.micros)
    assert honest.ending is (Ending.FAILED if free.micros > ceiling else free.ending)
    assert made(Kind.OVERSPENDING, ceiling).micros >= free.micros
    assert made(Kind.BURNING, ceiling) == made(Kind.BURNING, None)
    assert made(Kind.BURNING, None).ending is Ending.FAILED


def test_the_rules_without_a_governor_pick_as_they_are_called() -> None:
    free = [swarm("c", {"b"}, price=30), swarm("a", price=20), swarm("b", {"b"}, price=10)]
    work = job()
    assert first_idle()(work, free) is free[0]
    assert cheapest()(work, free) is free[2]
    rule = round_robin()
    ring = [rule(work, free) for _ in range(4)]
    assert [each.swarm_id for each in ring if each] == ["a", "b", "c", "a"]
    assert first_able()(work, free) is informed()(work, free) is free[1]
    assert informed()(job({"x"}), free) is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"rogues": {"share": 0.6}},
        {"rogues": {"shares": 0.1}},
        {"skills": {"per_role": 13, "vocabulary": 12}},
        {"failures": {"rate": 0.0}},
        {"swarms": 0},
    ],
)
def test_inputs_are_checked(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Scenario.model_validate(wrong)


def test_a_part_of_a_day_is_as_busy() -> None:
    part = BASE.part(0.25).work
    assert part.tasks * 4 == BASE.work.tasks
    assert part.hours * 4 == BASE.work.hours


def test_a_day_of_waiting_takes_no_time_and_waiting_for_nothing_ends() -> None:
    async def day() -> list[int]:
        order: list[int] = []

        async def nap(hours: int) -> None:
            await asyncio.sleep(hours * HOUR)
            order.append(hours)

        await asyncio.gather(*(nap(hours) for hours in (24, 3, 12)))
        assert VirtualClock().now() - BEGIN == timedelta(hours=24)
        return order

    begin = time.monotonic()
    assert run_virtually(day()) == [3, 12, 24]
    assert time.monotonic() - begin < HOUR

    async def for_ever() -> None:
        await asyncio.Event().wait()

    with pytest.raises(RuntimeError, match="nothing is left to happen"):
        run_virtually(for_ever())


@pytest.mark.parametrize("wrong", [["--families", "bace"], ["--regimes", "best"], ["--scale", "2"]])
def test_an_unknown_name_is_said_before_anything_runs(wrong: list[str]) -> None:
    with pytest.raises(SystemExit, match=r"not known|at most 1"):
        main(wrong)
