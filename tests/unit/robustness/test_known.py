"""The judge knows every operation that the server can write, so that none goes unjudged."""

from pathlib import Path

import pytest

import infrafabric_server
from tests.robustness.check.known import KNOWN, NEVER
from tests.unit.robustness.operations import UnclearError, written

SERVER = Path(infrafabric_server.__file__).parent


def test_u6_the_model_knows_every_operation_of_the_witness_log() -> None:
    """Each has its place in `check/known.py`: with a rule, or among those that need none."""
    assert written(SERVER) == KNOWN | NEVER


def test_u6_operations_are_read_off_the_source(tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text(
        "class Kind(StrEnum):\n"
        "    DONE = 'done'\n"
        "    GONE = 'gone'\n"
        "def end(kind: Kind) -> None:\n"
        "    Fact(f'task_{kind}')\n"
        "def tell(which: str) -> None:\n"
        "    outbox.draft('here', which)\n"
        "def both(wet: bool) -> None:\n"
        "    tell('it_rains')\n"
        "    name = 'wet' if wet else 'dry'\n"
        "    flood.count(name, 'swarm', 'task', 'why')\n"
        "def again(fact: Fact) -> None:\n"
        "    outbox.draft('here', fact.operation)\n"
    )
    assert written(tmp_path) == {"task_done", "task_gone", "it_rains", "wet", "dry"}


def test_u6_an_operation_that_cannot_be_followed_is_said(tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text("def end() -> None:\n    Fact(names[0])\n")
    with pytest.raises(UnclearError, match=r"one\.py:2: names\[0\]"):
        written(tmp_path)
