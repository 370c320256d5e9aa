"""Every command that answers prints one JSON object with the names of the contract."""

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness.command_line import commands, options
from tests.harness.documents import ROOT
from tests.integration.commands import Cli

pytestmark = pytest.mark.embedded

# They end never, and print an object for each event: test_cli_processes reads them.
_STREAMS = {"tasks watch", "witness tail"}
# These need a fabric on etcd and NATS: tests/integration/transfer runs them.
_REPLICATED = {"store migrate", "store restore-log"}

_MINE = ["--swarm", "json-w", "--attempt", "1"]
# Fields of the contract whose values are enums, which say so: TASK_STATE_AVAILABLE.
_ENUMS = {"kind", "state", "status", "refusal", "denial", "urgency", "dispatch", "cause", "rule"}
# What is anybody's JSON.
_FREE = {"details", "input", "result"}

# In this order: what one makes the next one needs. The exit code is 0; `=1` is an answer that is
# no, `=?` one that depends on the machine, and `!1` an error, which is no answer.
_STEPS = """
swarm register json-w --capability a
swarm register json-h --capability a
swarm list
swarm get json-w
tasks create first --id json-1 --dispatch manual
tasks list
tasks get json-1
tasks push json-1 json-w !1
tasks offer json-1
tasks assign json-1 =1
tasks claim json-1 --swarm json-w
tasks claim json-1 --swarm json-h =1
tasks extend json-1 MINE
tasks progress json-1 25 MINE
cost track llm 0.01 --swarm json-w --task json-1 --attempt 1
cost report
cost history
help ask json-1 stuck MINE --needs a
help list
help accept nowhere --swarm json-h !1
blocker resolve --swarm json-w --task json-1
credential issue json-1 MINE --allow "GET https://example.org/"
credential list json-w --live
credential validate =1
credential revoke 0123456789abcdef
tasks release json-1 MINE
tasks cancel json-1
tasks create second --id json-2 --dispatch manual
tasks claim json-2 --swarm json-w
tasks fail json-2 broken --permanent MINE
tasks create third --id json-3 --dispatch manual
tasks claim json-3 --swarm json-w
tasks complete json-3 MINE
board import BOARD
board export
notify idle --swarm json-h
blocker report stuck --swarm json-h
status
match a
match nothing-has-this =1
broadcast hello
slo
reputation show json-w
reputation history json-w
breaker trip json-w --reason test
breaker list
escalations
escalations list
escalations show breaker:json-w
escalations ack breaker:json-w --by me
breaker reset json-w --approver me --reason test
budget show
budget set none --swarm json-w
chassis load json-w WORDS
chassis list
chassis execute json-w run-1
chassis violations json-w
chassis run WORDS
chassis run FOREVER --seconds 0.1 =1
chassis doctor =?
chassis unload json-w
policy show
policy check POLICY =1
doctor --data FOLDER =?
store dump DUMP --data DATA
store restore DUMP --data RESTORED
witness query
witness verify
swarm deregister json-w
"""


@pytest.fixture
def places(tmp_path: Path, shared_server: Any) -> dict[str, str]:
    """What the words in capitals stand for."""
    board, policy = tmp_path / "board.yaml", tmp_path / "policy.yaml"
    board.write_text("tasks:\n  - {id: json-4, title: fourth, dispatch: manual}\n")
    policy.write_text("nonsense: 1\n")
    return {
        "BOARD": str(board),
        "POLICY": str(policy),
        "WORDS": str(ROOT / "demo" / "words.wat"),
        "FOREVER": str(ROOT / "docs" / "guests" / "forever.wat"),
        "FOLDER": str(tmp_path),
        "DUMP": str(tmp_path / "dump"),
        "DATA": str(shared_server.data),
        "RESTORED": str(tmp_path / "restored"),
    }


def test_u3_every_command_prints_one_object_with_the_names_of_the_contract(
    cli: Cli, places: dict[str, str]
) -> None:
    seen = set()
    for line in _STEPS.strip().splitlines():
        words, wanted = _words(line, places)
        seen.add(next(name for name in _NAMES if words[: len(name.split())] == name.split()))
        code = int(wanted[1:]) if wanted[1:].isdigit() else None
        result = cli(*words, "--json", code=code)
        if wanted.startswith("!"):
            assert (result.stdout, result.stderr != "") == ("", True), line
            continue
        printed = json.loads(result.stdout)
        assert isinstance(printed, dict), line
        assert result.stdout.count("\n") == 1, line
        if words[0] != "doctor":
            assert not list(_short(printed)), line
    assert seen == set(_NAMES) - _STREAMS - _REPLICATED


_NAMES = sorted(
    (name for name, parser in commands().items() if "--json" in options(parser)),
    key=lambda name: -len(name),
)


def _words(line: str, places: dict[str, str]) -> tuple[list[str], str]:
    *words, last = shlex.split(line)
    if last[0] in "=!":
        wanted = last
    else:
        words, wanted = [*words, last], "=0"
    given = [word for each in words for word in (_MINE if each == "MINE" else [each])]
    return [places.get(word, word) for word in given], wanted


def _short(value: object) -> Iterator[str]:
    """Return the values of enums that have not the names of the contract."""
    match value:
        case dict():
            for name, each in value.items():
                if (
                    name in _ENUMS
                    and isinstance(each, str)
                    and "_" + name.upper() not in "_" + each
                ):
                    yield f"{name}: {each}"
                if name not in _FREE:
                    yield from _short(each)
        case list():
            for each in value:
                yield from _short(each)
