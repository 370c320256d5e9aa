"""G8: the file is followed; a bad one changes nothing, and is told of once."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from infrafabric_server.governor.policy.book import PolicyBook
from infrafabric_server.governor.policy.file import PolicyFile, PolicyFileError, spelled_out
from tests.contract.clock import SteppedClock
from tests.unit.governor.policy.kit import DEFAULTS, loaded

GOOD = "budgets: {max_task_cost_micros: 7}\n"
BAD = "budgets: {max_task_cost_micros: no}\n"


@asynccontextmanager
async def following(path: Path) -> AsyncIterator[tuple[PolicyFile, SteppedClock]]:
    """Follow a file until the block ends; time passes as the clock is told."""
    clock = SteppedClock()
    file = PolicyFile(path, PolicyBook(), clock, sleep=clock.sleep)
    file.load()
    running = asyncio.create_task(file.run())
    await asyncio.sleep(0)
    try:
        yield file, clock
    finally:
        running.cancel()
        await asyncio.wait((running,))


async def test_g8_another_content_comes_into_force_within_a_second(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(GOOD)
    async with following(path) as (file, clock):
        heard = asyncio.Event()
        file.book.follow(heard.set)
        before = file.book.current
        assert before.policy.budgets.max_task_cost_micros == 7
        path.write_text(GOOD.replace("7", "88"))
        await clock.advance(1)
        await asyncio.wait_for(heard.wait(), 10)
        assert file.book.current.policy.budgets.max_task_cost_micros == 88
        assert file.book.current.hash != before.hash
        assert file.load_time == clock.now()


async def test_g8_a_bad_file_changes_nothing_and_is_logged_once_for_each_content(
    tmp_path: Path,
) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(GOOD)
    async with following(path) as (file, _):
        before = file.book.current
        with capture_logs() as logs:
            for text in (BAD, BAD, BAD + "x: 1\n"):
                path.write_text(text)
                os.utime(path)
                await file.reload(path)
            path.unlink()
            await file.reload(path)
            await file.reload(path)
        assert [entry["event"] for entry in logs] == ["policy_refused"] * 3
        assert f"{path}:1: budgets.max_task_cost_micros: " in logs[0]["reason"]
        assert file.book.current is before
        assert "cannot be read" in file.problems[0].problem
        path.write_text(GOOD)
        await file.reload(path)
        assert not file.problems
        assert file.book.current is before


@pytest.mark.parametrize("text", [None, BAD])
def test_g8_a_server_does_not_start_with_a_file_that_is_not_good(
    tmp_path: Path, text: str | None
) -> None:
    path = tmp_path / "policy.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(PolicyFileError, match=f"^policy: {path}"):
        PolicyFile(path, PolicyBook(), SteppedClock()).load()


def test_g8_what_is_in_force_can_be_read_back() -> None:
    text = GOOD + "breaker: {slow_after: 1h1m1s}\nrules:\n- {name: r, when: 1 > 2, deny: denied}\n"
    policy = loaded(text)
    shown = spelled_out(policy)
    assert loaded(shown).policy == policy.policy
    assert "slow_after: 1h1m1s" in shown
    assert loaded(spelled_out(PolicyBook().current)).policy == DEFAULTS
