"""A history that is written is read back as it was; what never returned is unknown."""

import itertools
import json
from pathlib import Path

import pytest

from infrafabric.errors import StaleAttempt, StoreUnavailable, Unreachable
from tests.robustness.evidence import (
    HISTORY,
    STATE,
    FinalAccount,
    FinalStatus,
    FinalTask,
    log_name,
    read,
)
from tests.robustness.history import Operation, Outcome, Recorder
from tests.unit.robustness.ideal import exported
from tests.unit.robustness.test_check import legal


async def history(path: Path) -> None:
    ticks = itertools.count()
    recorder = Recorder(path, lambda: float(next(ticks)))

    async def done() -> int:
        return 3

    async def fails(error: Exception) -> int:
        raise error

    async def ask(kind: str, error: Exception | None = None) -> None:
        await recorder.call(
            "ada",
            kind,
            lambda: done() if error is None else fails(error),
            tag=recorder.tag(),
            answer=lambda attempt: {"attempt": attempt},
            task_id="t",
        )

    await ask("claim")
    for error in (StaleAttempt("old"), Unreachable("cut"), StoreUnavailable("full")):
        with pytest.raises(type(error)):
            await ask("complete", error)
    with pytest.raises(ZeroDivisionError):
        await ask("release", ZeroDivisionError())
    recorder.see("bob", "text", message="hello")
    recorder.close()


async def test_u6_history_is_read_back(tmp_path: Path) -> None:
    await history(tmp_path / HISTORY)
    (tmp_path / STATE).write_text(
        json.dumps(
            {
                "servers": ["s"],
                "tasks": [{"task_id": "t", "state": "CLAIMED", "dependencies": ["u"]}],
                "statuses": [{"swarm_id": "ada", "status": "BUSY"}],
                "blockers": [["ada", "t"]],
                "accounts": {"swarm/ada": {"total": 7, "reserved": 2, "limit": 9}},
                "reported": {"swarm/ada": 7},
                "open_breakers": ["ada"],
                "help": {"h": True},
                "escalations": {"breaker:ada": ["OPEN", 2]},
            }
        )
    )
    log = legal(1).log
    (tmp_path / log_name("s")).write_text("\n".join(exported(log)))
    evidence = read(tmp_path)
    about = {"task_id": "t"}
    assert evidence.operations == [
        Operation(1, "ada", "claim", "1", 0.0, about, 1.0, Outcome.OK, "", {"attempt": 3}),
        Operation(
            2, "ada", "complete", "2", 2.0, about, 3.0, Outcome.REFUSED, "StaleAttempt",
            {"message": "old"},
        ),
        Operation(
            3, "ada", "complete", "3", 4.0, about, 5.0, Outcome.UNKNOWN, "Unreachable",
            {"message": "cut"},
        ),
        Operation(
            4, "ada", "complete", "4", 6.0, about, 7.0, Outcome.UNKNOWN, "StoreUnavailable",
            {"message": "full"},
        ),
        Operation(5, "ada", "release", "5", 8.0, about),
    ]  # fmt: skip
    (seen,) = evidence.observations
    assert (seen.client, seen.kind, seen.at, seen.fields) == (
        "bob",
        "text",
        9.0,
        {"message": "hello"},
    )
    assert evidence.log == log
    assert evidence.tasks == {"t": FinalTask("t", "CLAIMED", dependencies=("u",))}
    assert evidence.statuses == {"ada": FinalStatus("ada", "BUSY")}
    assert evidence.blockers == {("ada", "t")}
    assert evidence.accounts == {"swarm/ada": FinalAccount(7, 2, 9)}
    assert evidence.reported == {"swarm/ada": 7}
    assert evidence.open_breakers == {"ada"}
    assert evidence.help == {"h": True}
    assert evidence.escalations == {"breaker:ada": ("OPEN", 2)}
