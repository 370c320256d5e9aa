"""Commands without a server: what they refuse, and with which exit code."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from infrafabric_cli import exit_codes
from infrafabric_cli.exit_codes import ExitCode
from infrafabric_cli.main import app

# Nothing listens there: the port is the system's own, and closed.
NOWHERE = "127.0.0.1:1"

ASK = ("help", "ask", "t1", "no key", "--swarm", "s1", "--attempt", "1")
COMPLETE = ("tasks", "complete", "t1", "--swarm", "s1")


def infrafabric(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments, env={"INFRAFABRIC_SERVER": NOWHERE, "COLUMNS": "200"})


def test_exit_codes_are_those_of_the_documentation() -> None:
    text = exit_codes.__doc__ or ""
    documented = {int(line.split()[0]) for line in text.splitlines() if line[4:5].isdigit()}
    assert documented == {code.value for code in ExitCode}
    told = infrafabric("--help").stdout.split("Exit codes:")[1].split("─")[0]
    assert {int(number) for number in re.findall(r"\d+", told)} == documented


@pytest.mark.parametrize(
    "arguments",
    [
        ("status", "--once"),
        ("status", "--json"),
        ("tasks", "list"),
        ("tasks", "get", "t1"),
        ("tasks", "claim", "t1", "--swarm", "s1"),
        ("swarm", "list"),
        ("match", "rust"),
        ("witness", "query"),
        ("witness", "verify"),
        ("broadcast", "hello"),
        ("help", "accept", "h1", "--swarm", "s1"),
        ("help", "list"),
        ("chassis", "list"),
        ("chassis", "load", "s1", "0" * 64),
        ("chassis", "unload", "s1"),
        ("chassis", "execute", "s1", "r1"),
        ("chassis", "violations", "s1"),
        ("notify", "idle", "--swarm", "s1"),
        ("board", "export"),
        ("status", "--follow"),
        ("tasks", "watch"),
        ("witness", "tail"),
    ],
)
def test_u3_unreachable_says_what_to_do(arguments: tuple[str, ...]) -> None:
    result = infrafabric(*arguments)
    assert result.exit_code == ExitCode.UNREACHABLE
    assert result.stdout == ""
    assert f"no answer from {NOWHERE}" in result.stderr
    assert "infrafabric serve" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (COMPLETE, "--attempt"),
        ((*COMPLETE, "--attempt", "0"), "equal to 1"),
        (("tasks", "claim", "t1"), "--swarm"),
        (
            ("tasks", "complete", "t", "--swarm", "s", "--attempt", "1", "--cost", "1e3"),
            "US dollars",
        ),
        (("tasks", "create", " "), "must not be empty"),
        (("tasks", "create", "x", "--id", ""), "must not be empty"),
        (("tasks", "create", "x", "--input", "[1]"), "JSON object"),
        (("tasks", "create", "x", "--input", "{"), "JSON object"),
        (("tasks", "create", "x", "--input", "@/no/such/file"), "/no/such/file cannot be read"),
        (("tasks", "create", "x", "--input", __file__), "@"),
        ((*COMPLETE, "--attempt", "1", "--result", "x" * 5000), "JSON object"),
        (("chassis", "load", "s1", "0" * 64, "--success-rate", "95"), "above 0 and below 1"),
        (("chassis", "load", "s1", "0" * 64, "--availability", "1"), "above 0 and below 1"),
        (("tasks", "create", "x", "--deadline", "soon"), "2026-01-31T12:00:00Z"),
        (("tasks", "create", "x", "--hours", "999"), "0 to 720"),
        (("tasks", "create", "x", "--dispatch", "now"), "auto, broadcast, manual"),
        (("tasks", "list", "--state", "sleeping"), "blocked, available"),
        (("match", "rust", "--max-cost-per-hour", "-1"), "US dollars"),
        (("budget", "set", "1", "--fabric", "--period", "year"), "hour, day, week, month"),
        (("escalations", "--json", "--server", NOWHERE, "ack", "x", "--by", "me"), "after the"),
        (("escalations", "--watch", "--state", "open"), "either --watch"),
        (("match", "rust", "--task-cost", "1e3"), "US dollars"),
        (("match", "rust", "--metric", "cosine"), "jaccard, coverage"),
        (("notify", "sleeping", "--swarm", "s1"), "idle"),
        (ASK, "--needs"),
        ((*ASK, "--needs", "vault", "--urgency", "now"), "low, high, critical"),
        ((*ASK, "--needs", "vault", "--budget", "all"), "US dollars"),
        (("help", "accept", "h1"), "--swarm"),
        (("help", "tasks"), "for tasks: infrafabric tasks --help "),
        (("help", "nonsense"), "No such command 'nonsense'"),
        (("cost", "report", "--json", "--csv"), "either --json or --csv"),
        (("cost", "history", "--csv", "--json"), "either --json or --csv"),
        (("board", "export", "--json", "--output", "b.yaml"), "either --json"),
        (("board", "export", "--json", "--form", "markdown"), "either --json"),
        (("help", "list", "--state", "over"), "open, staffed, unqualified, ended"),
        (("board", "import", "/no/such/board.yaml"), "cannot be read"),
        (("chassis", "load", "s1", "/no/such/module.wasm"), "cannot be read"),
        (("chassis", "load", "s1", "0" * 64, "--memory-mb", "0"), "equal to 1"),
        (("chassis", "execute", "s1", "r1", "--input", "[1]"), "JSON object"),
        (("status", "--server", ""), "HOST:PORT"),
        (("status", "--server", "http://127.0.0.1:50051"), "HOST:PORT"),
        (("status", "--server", "127.0.0.1:50051,"), "several separated by commas"),
        (("serve", "--grpc", "0.0.0.0:1"), "not a loopback address"),
        (("serve", "--http", "nonsense"), "HOST:PORT"),
        (("serve", "--config", "/no/such/file"), "cannot be read"),
        (("nonsense",), "nonsense"),
    ],
)
def test_u3_wrong_use_names_the_rule(arguments: tuple[str, ...], message: str) -> None:
    result = infrafabric(*arguments)
    assert result.exit_code == ExitCode.USAGE
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_u3_a_board_that_breaks_a_rule_is_told_before_any_server_is_asked(tmp_path: Path) -> None:
    board = tmp_path / "board.yaml"
    board.write_text("tasks:\n  - id: a\n    titel: x\n")
    result = infrafabric("board", "import", str(board))
    assert result.exit_code == ExitCode.USAGE
    first, second = result.stderr.splitlines()
    assert first == f"{board}:2: title: is required"
    assert second.startswith(f"{board}:3: titel: is not a field of a board; there are id, title,")


def test_u3_a_dry_run_asks_no_server(tmp_path: Path) -> None:
    board = tmp_path / "board.yaml"
    board.write_text("tasks:\n  - {id: a, title: x}\n")
    result = infrafabric("board", "import", str(board), "--dry-run")
    assert (result.exit_code, result.stdout) == (0, f"{board}: 1 tasks, nothing wrong with them\n")
    board.write_text("tasks:\n  - {id: a, title: x, depends: [b, zz]}\n  - {id: b, title: x}\n")
    said = infrafabric("board", "import", str(board), "--dry-run").stdout.splitlines()
    assert said[1:] == ["not in this file, so they must exist already: zz"]
    told = json.loads(infrafabric("board", "import", str(board), "--dry-run", "--json").stdout)
    assert ([task["task_id"] for task in told["tasks"]], told["needed"]) == (["a", "b"], ["zz"])
    board.write_text(
        "tasks:\n  - {id: a, title: x, depends: [b]}\n  - {id: b, title: x, depends: a}\n"
    )
    refused = infrafabric("board", "import", str(board), "--dry-run")
    assert refused.exit_code == ExitCode.USAGE
    assert refused.stderr == f"{board}:2: depends: dependencies form a cycle: a -> b -> a\n"


def test_u3_a_folder_without_a_log_is_refused(tmp_path: Path) -> None:
    result = infrafabric("witness", "verify", "--data", str(tmp_path))
    assert result.exit_code == ExitCode.REFUSED
    assert str(tmp_path) in result.stderr


@pytest.mark.parametrize(
    "damage", [b"not a database at all" * 100, b""], ids=["another file", "an empty file"]
)
def test_w3_a_log_that_is_no_log_any_more_is_damaged(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "witness.db").write_bytes(damage)
    result = infrafabric("witness", "verify", "--data", str(tmp_path))
    assert result.exit_code == ExitCode.TAMPERED
    assert str(tmp_path) in result.stderr


def test_every_command_has_help() -> None:
    pending: list[tuple[str, ...]] = [()]
    seen = 0
    while pending:
        path = pending.pop()
        result = infrafabric(*path, "--help")
        assert result.exit_code == 0
        seen += 1
        if len(path) < 2:
            pending += [(*path, name) for name in _commands(result.stdout)]
    assert seen > 25


def _commands(text: str) -> list[str]:
    if "Commands" not in text:
        return []
    rows = text.split("Commands")[1].splitlines()[1:-1]
    return [row.split()[1] for row in rows if row.startswith("│ ") and row[2] != " "]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_there_for_shells(shell: str) -> None:
    done = subprocess.run(
        [Path(sys.executable).parent / "infrafabric", "--show-completion", shell],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
        env={"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1", "PATH": "/usr/bin:/bin"},
    )
    assert done.returncode == 0
    assert "infrafabric" in done.stdout
