"""The command line against the real server: U3, and what each exit code means."""

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from infrafabric_cli.exit_codes import ExitCode
from tests.harness.server import ServerProcess
from tests.integration.commands import Cli, document


def test_u3_one_task_from_creation_to_its_story(cli: Cli) -> None:
    cli("swarm", "register", "one-w", "--capability", "one", "--cost-per-hour", "2.50")
    created = document(
        cli(
            *("tasks", "create", "read the paper", "--id", "one-t", "--capability", "one"),
            *("--input", '{"pages": 3}', "--max-cost", "1.25", "--hours", "0.5", "--json"),
        )
    )
    assert created["state"] == "TASK_STATE_AVAILABLE"
    assert (created["max_cost_micros"], created["input"]) == (1_250_000, {"pages": 3})
    won = document(cli("tasks", "claim", "one-t", "--swarm", "one-w", "--json"))
    assert (won["claimed"], won["task"]["attempt"]) == (True, 1)
    mine = ("one-t", "--swarm", "one-w", "--attempt", "1")
    assert "claimed by one-w, attempt 1" in cli("tasks", "extend", *mine).stdout
    cli("tasks", "progress", "one-t", "50", *mine[1:], "--note", "half", "--next", "the rest")
    shown = cli("tasks", "get", "one-t").stdout
    assert "milestone\t50 %" in shown
    assert 'input\t{"pages": 3}' in shown
    done = document(
        cli("tasks", "complete", *mine, "--result", '{"words": 9}', "--cost", "0.75", "--json")
    )
    assert (done["cost_micros"], done["result"]) == (750_000, {"words": 9})
    story = document(cli("witness", "query", "--task", "one-t", "--json"))["entries"]
    assert [entry["operation"] for entry in story] == [
        "task_created",
        "claim_won",
        "claim_extended",
        "progress_reported",
        "task_completed",
    ]


def test_c1_losing_a_claim_is_exit_code_1_and_names_the_owner(cli: Cli) -> None:
    for swarm in ("two-a", "two-b"):
        cli("swarm", "register", swarm)
    cli("tasks", "create", "x", "--id", "two-t", "--dispatch", "manual")
    won = cli("tasks", "claim", "two-t", "--swarm", "two-a").stdout
    assert won.startswith("two-t: claimed, attempt 1, until ")
    end = won.rpartition(" until ")[2].strip()
    assert f"claim ends\t{end}\n" in cli("tasks", "get", "two-t").stdout
    lost = cli("tasks", "claim", "two-t", "--swarm", "two-b", code=ExitCode.REFUSED)
    assert lost.stdout == "two-t: not claimed, already claimed (held by two-a)\n"
    unknown = cli("tasks", "claim", "nowhere", "--swarm", "two-b", "--json", code=ExitCode.REFUSED)
    assert document(unknown)["refusal"] == "CLAIM_REFUSAL_TASK_NOT_FOUND"


def test_c10_a_stale_attempt_is_refused_by_name(cli: Cli) -> None:
    cli("swarm", "register", "three-w")
    cli("tasks", "create", "x", "--id", "three-t", "--dispatch", "manual")
    mine = ("three-t", "--swarm", "three-w", "--attempt", "1")
    cli("tasks", "claim", "three-t", "--swarm", "three-w")
    cli("tasks", "release", *mine, "--reason", "lunch")
    cli("tasks", "claim", "three-t", "--swarm", "three-w")
    stale = cli("tasks", "complete", *mine, code=ExitCode.REFUSED)
    assert stale.stderr.startswith("stale attempt: ")
    assert stale.stdout == ""


def test_c11_fail_and_cancel(cli: Cli) -> None:
    cli("swarm", "register", "four-w")
    for task in ("four-a", "four-b"):
        cli("tasks", "create", "x", "--id", task, "--dispatch", "manual")
    cli("tasks", "claim", "four-a", "--swarm", "four-w")
    mine = ("--swarm", "four-w", "--attempt", "1")
    failed = cli("tasks", "fail", "four-a", "no way", *mine, "--permanent")
    assert failed.stdout == "four-a: failed, attempt 1; for good\n"
    assert failed.stderr == ""
    assert cli("tasks", "cancel", "four-b", "--reason", "late").stdout == "four-b: cancelled\n"
    cli("tasks", "claim", "four-b", "--swarm", "four-w", code=ExitCode.REFUSED)
    cancelled = document(cli("tasks", "list", "--state", "cancelled", "--json"))["tasks"]
    assert [(task["task_id"], task["reason"]) for task in cancelled] == [("four-b", "late")]


def test_c5_push_and_assign_need_a_session(cli: Cli) -> None:
    cli("swarm", "register", "five-w", "--capability", "five")
    cli("tasks", "create", "x", "--id", "five-t", "--capability", "five", "--dispatch", "manual")
    refused = cli("tasks", "push", "five-t", "five-w", code=ExitCode.REFUSED)
    assert refused.stderr.startswith("no session: ")
    none = cli("tasks", "assign", "five-t", code=ExitCode.REFUSED)
    assert none.stdout.startswith("five-t: no swarm fits: left out ")
    assert none.stdout.endswith("no_session 1\n")
    assert cli("tasks", "offer", "five-t").stdout == "five-t: offered to 0 swarms\n"


def test_g2_match_explains_itself(cli: Cli) -> None:
    cli("swarm", "register", "six-cheap", "--capability", "six", "--cost-per-hour", "2")
    cli("swarm", "register", "six-dear", "--capability", "six", "--cost-per-hour", "20")
    best = cli("match", "six", "--explain").stdout.splitlines()
    assert best[0] == "six-cheap (match 100%, score 0.25)"
    assert "2\tsix-dear\t100%\t0.500\t0.025\t20.00" in best
    cli("swarm", "register", "six-other")
    cli("swarm", "register", "six-near", "--capability", "six", "--capability", "a")
    told = cli("match", "six", "--explain").stdout
    assert "six-near\tcapability\t" in told
    assert "six-other" not in told
    assert told.endswith(" of them are not listed: they share nothing\n")
    cheap = document(cli("match", "six", "--max-cost", "10", "--explain", "--json"))
    assert [each["swarm_id"] for each in cheap["candidates"]] == ["six-cheap"]
    rules = {each["swarm_id"]: each["rule"] for each in cheap["excluded"]}
    assert rules["six-dear"] == "EXCLUSION_RULE_COST"
    cli("swarm", "register", "six-broad", "--capability", "six", "--capability", "more")
    assert cli("match", "six").stdout.startswith("six-cheap ")
    assert cli("match", "six", "--metric", "coverage").stdout.startswith("six-broad (match 100%")
    none = cli("match", "nothing-has-this", code=ExitCode.REFUSED)
    assert none.stdout == "no swarm qualifies\n"


def test_n5_n8_notify_and_blockers(cli: Cli) -> None:
    idle = cli("notify", "idle", "--swarm", "seven-h", "--capability", "rust").stdout
    assert "place in the idle queue: " in idle
    helped = cli("notify", "help", "stuck", "--swarm", "seven-w", "--needs", "rust").stdout
    assert "could help: seven-h (100% of the needs: rust)" in helped
    blocked = cli("notify", "blocked", "need the spec", "--swarm", "seven-w").stdout
    assert "the orchestrator has been told" in blocked
    shown = cli("status", "--once").stdout
    assert "blocked: seven-w for" in shown
    assert "need the spec" in shown
    agents = {a["swarm_id"]: a for a in document(cli("status", "--json"))["agents"]}
    assert agents["seven-w"]["status"] == "STATUS_BLOCKED"
    resolved = cli("blocker", "resolve", "sent it", "--swarm", "seven-w").stdout
    assert resolved == "resolved: seven-w\n"
    again = cli("blocker", "resolve", "--swarm", "seven-w", code=ExitCode.REFUSED)
    assert again.stderr.startswith("blocker not found: ")
    assert "reported: " in cli("blocker", "report", "no disk", "--swarm", "seven-w").stdout


def test_swarms_come_and_go(cli: Cli) -> None:
    cli("swarm", "register", "eight-w", "--slots", "4", "--model", "large")
    swarm = document(cli("swarm", "get", "eight-w", "--json"))
    assert (swarm["max_concurrent_tasks"], swarm["model"]) == (4, "large")
    listed = document(cli("swarm", "list", "--json"))["swarms"]
    assert "eight-w" in [each["swarm_id"] for each in listed]
    assert "tasks that went back: none" in cli("swarm", "deregister", "eight-w").stdout
    gone = cli("swarm", "get", "eight-w", code=ExitCode.REFUSED)
    assert gone.stderr.startswith("swarm not found: ")


BOARD = """\
| id | title | hours | depends | capabilities | filler |
|---|---|---|---|---|---|
| nine.1 | event bus | 1 | - | bus, integration | |
| nine.2 | atomic claim | 2 | nine.1 | | |
| nine.F | architecture notes | | | | yes |
"""


def test_c7_board_comes_in_once_and_goes_out_again(cli: Cli, tmp_path: Path) -> None:
    board = tmp_path / "board.md"
    board.write_text(BOARD)
    first = document(cli("board", "import", str(board), "--json"))["tasks"]
    assert [task["state"] for task in first] == [
        "TASK_STATE_AVAILABLE",
        "TASK_STATE_BLOCKED",
        "TASK_STATE_AVAILABLE",
    ]
    again = document(cli("board", "import", str(board), "--json"))["tasks"]
    assert [task["create_time"] for task in again] == [task["create_time"] for task in first]
    for name in ("out.yaml", "out.md"):
        written = tmp_path / name
        cli("board", "export", "--all", "--output", str(written))
        assert "nine.2" in written.read_text()
        assert "nothing wrong" in cli("board", "import", str(written), "--dry-run").stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["board.md", "out.md", "out.yaml"]


@pytest.mark.parametrize(
    ("tasks", "problem", "code"),
    [
        (
            "- {id: ten.a, title: x}\n- {id: ten.b, title: x,\n   depends: [nope]}",
            ":4: depends: ",
            2,
        ),
        ("- {id: ten.c, title: x, depends: [ten.c]}", "cycle", 2),
        ("- {id: ten.e, title: x}\n- id: ten.taken\n  title: x", ":3: id: ", 1),
    ],
    ids=["unknown dependency", "cycle", "existing task"],
)
def test_c7_board_that_the_server_refuses_names_the_place(
    cli: Cli, tmp_path: Path, tasks: str, problem: str, code: int
) -> None:
    if code == ExitCode.REFUSED:
        cli("tasks", "create", "other", "--id", "ten.taken", "--dispatch", "manual")
    board = tmp_path / "board.yaml"
    board.write_text(f"tasks:\n{tasks}\n")
    refused = cli("board", "import", str(board), code=code)
    assert problem in refused.stderr
    for first in ("ten.a", "ten.c", "ten.e"):
        cli("tasks", "get", first, code=ExitCode.REFUSED)


def test_witness_verifies_over_the_api_and_in_the_folder(
    cli: Cli, shared_server: ServerProcess
) -> None:
    cli("tasks", "create", "x", "--id", "eleven-t", "--dispatch", "manual")
    over_the_api = document(cli("witness", "verify", "--json"))
    in_the_folder = document(cli("witness", "verify", "--json", "--data", str(shared_server.data)))
    assert over_the_api["verified"]
    assert over_the_api == in_the_folder
    exported = [json.loads(line) for line in cli("witness", "export").stdout.splitlines()]
    assert [entry["sequence"] for entry in exported] == list(range(1, len(exported) + 1))
    assert exported[-1]["hash"] == over_the_api["hash"]


def test_w2_tampered_log_names_the_first_bad_entry(
    cli: Cli, shared_server: ServerProcess, tmp_path: Path
) -> None:
    cli("tasks", "create", "x", "--id", "twelve-t", "--dispatch", "manual")
    cli("witness", "verify")
    for file in shared_server.data.glob("witness.db*"):
        shutil.copy(file, tmp_path)
    with closing(sqlite3.connect(tmp_path / "witness.db")) as log, log:
        log.execute("DROP TRIGGER entries_stay")
        log.execute("UPDATE entries SET body = replace(body, '2026', '2025') WHERE sequence = 3")
    bad = cli("witness", "verify", "--data", str(tmp_path), code=ExitCode.TAMPERED)
    assert bad.stdout.startswith("entry 3 is bad: ")
    told = document(
        cli("witness", "verify", "--data", str(tmp_path), "--json", code=ExitCode.TAMPERED)
    )
    assert (told["verified"], told["first_bad"], told["sequence"]) == (False, 3, 2)


def test_u3_what_is_named_and_is_not_there_is_no_empty_answer(cli: Cli) -> None:
    cli("swarm", "register", "absent-w")
    cli("tasks", "create", "x", "--id", "absent-t", "--dispatch", "manual")
    ghost = cli("chassis", "violations", "ghost", code=ExitCode.REFUSED)
    assert (ghost.stdout, ghost.stderr) == ("", "swarm not found: no swarm has the id ghost\n")
    assert document(cli("chassis", "violations", "absent-w", "--json"))["violations"] == []
    for owned in (
        ("tasks", "list", "--owner"),
        ("credential", "list"),
        ("cost", "report", "--swarm"),
    ):
        assert cli(*owned, "absent-w").stdout
        unknown = cli(*owned, "ghost", code=ExitCode.REFUSED)
        assert (unknown.stdout, unknown.stderr) == ("", ghost.stderr)
    cost = cli("cost", "history", "--task", "ghost", code=ExitCode.REFUSED)
    assert cost.stderr.startswith("task not found: ")
    for name, value in (("operation", "clam_won"), ("component", "x"), ("task", "ghost")):
        nothing = cli("witness", "query", f"--{name}", value, code=ExitCode.REFUSED)
        assert nothing.stdout == ""
        assert nothing.stderr.startswith(f"no entry has the {name} {value}")
    never = ("witness", "query", "--task", "absent-t", "--operation", "swarm_registered")
    assert (cli(*never).stderr, document(cli(*never, "--json"))) == (
        "no entry fits\n",
        {"entries": []},
    )


def test_g9_help_is_asked_for_given_and_over(cli: Cli) -> None:
    for swarm in ("help-a", "help-b", "help-c"):
        cli("swarm", "register", swarm)
    cli("tasks", "create", "x", "--id", "help-t", "--dispatch", "manual", "--max-cost", "2")
    cli("tasks", "claim", "help-t", "--swarm", "help-a")
    mine = ("help-t", "no key", "--swarm", "help-a", "--attempt", "1")
    asking = ("help", "ask", *mine, "--needs", "vault")
    much = cli(*asking, "--budget", "2.01", code=ExitCode.USAGE)
    assert "budget_micros: must be at most 2.00 USD" in much.stderr
    asked = document(cli(*asking, "--budget", "1.50", "--urgency", "high", "--json"))
    assert (asked["state"], asked["urgency"]) == ("HELP_STATE_OPEN", "HELP_URGENCY_HIGH")
    assert (asked["needs"], asked["budget_micros"]) == (["vault"], 1_500_000)
    name = asked["help_id"]
    own = cli("help", "accept", name, "--swarm", "help-a", code=ExitCode.USAGE)
    assert own.stderr.startswith("invalid field: swarm_id: must be another swarm")
    taken = document(cli("help", "accept", name, "--swarm", "help-b", "--json"))
    assert (taken["accepted"], taken["help"]["helper_swarm_ids"]) == (True, ["help-b"])
    cli("cost", "track", "llm", "1", "--swarm", "help-c", "--help-id", name, code=ExitCode.REFUSED)
    paid = document(
        cli("cost", "track", "llm", "1", "--swarm", "help-b", "--help-id", name, "--json")
    )
    assert paid["reservation_left_micros"] == 500_000
    cli("blocker", "resolve", "--swarm", "help-a", "--task", "help-t")
    late = cli("help", "accept", name, "--swarm", "help-c", code=ExitCode.REFUSED)
    assert late.stdout.startswith(f"{name}: help-c does not help: the request is over")
    ended = ("help", "accept", name, "--swarm", "help-c", "--json")
    assert not document(cli(*ended, code=ExitCode.REFUSED))["accepted"]
    cli("help", "accept", "nowhere", "--swarm", "help-c", code=ExitCode.REFUSED)
    assert name in [each["help_id"] for each in document(cli("help", "list", "--json"))["help"]]


def test_u3_of_several_servers_one_that_answers_is_asked(
    cli: Cli, shared_server: ServerProcess
) -> None:
    # Nobody listens at port 1; whichever the command begins with.
    for servers in (f"127.0.0.1:1,{shared_server.grpc}", f"{shared_server.grpc},127.0.0.1:1"):
        cli("swarm", "register", "several-w", "--server", servers)
    cli("swarm", "get", "several-w", "--server", "127.0.0.1:1,[::1]:1", code=ExitCode.UNREACHABLE)
