"""Commands as processes of their own: streams, terminals, pipes and the server itself."""

import asyncio
import json
import os
import pty
import select
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import pytest

from infrafabric import Client
from infrafabric.v1.task_pb2 import Task
from infrafabric_cli.exit_codes import ExitCode
from tests.harness import setups
from tests.harness.server import COMMAND, ServerProcess
from tests.integration.commands import Cli

# What a terminal is told before and after it shows a screen of its own.
ENTER_SCREEN, LEAVE_SCREEN = "\x1b[?1049h", "\x1b[?1049l"


@contextmanager
def started(server: ServerProcess, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run a command as a process of its own, and end it with the block."""
    process = subprocess.Popen(
        [COMMAND, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "INFRAFABRIC_SERVER": server.grpc},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_streams_print_lines_as_things_happen(cli: Cli, shared_server: ServerProcess) -> None:
    watch = started(shared_server, "tasks", "watch", "--json")
    # A tail does not tell when it has begun: without a beginning it may miss what comes next.
    only = ("--task", "thirteen-t", "--after-sequence", "0")
    tail = started(shared_server, "witness", "tail", "--json", *only)
    status = started(shared_server, "status", "--follow", "--json")
    with watch as tasks, tail as entries, status as statuses:
        assert tasks.stdout is not None
        assert entries.stdout is not None
        assert statuses.stdout is not None
        while "snapshot_end" not in json.loads(tasks.stdout.readline()):
            pass
        while "snapshot_end" not in json.loads(statuses.stdout.readline()):
            pass
        cli("tasks", "create", "x", "--id", "thirteen-t", "--dispatch", "manual")
        changed = json.loads(tasks.stdout.readline())
        assert (changed["changed"]["task_id"], bool(changed["cursor"])) == ("thirteen-t", True)
        cli("notify", "busy", "reading", "--swarm", "thirteen-w")
        agent = json.loads(statuses.stdout.readline())["changed"]
        while agent["swarm_id"] != "thirteen-w":
            agent = json.loads(statuses.stdout.readline())["changed"]
        assert agent["last_task"] == "reading"
        cli("tasks", "cancel", "thirteen-t")
        assert json.loads(entries.stdout.readline())["task_id"] == "thirteen-t"
        for process in (tasks, entries, statuses):
            process.send_signal(signal.SIGINT)
        codes = [process.wait(10) for process in (tasks, entries, statuses)]
    assert codes == [ExitCode.INTERRUPTED] * 3


def test_g7_a_watch_of_escalations_prints_a_line_for_each_change(
    cli: Cli, shared_server: ServerProcess
) -> None:
    cli("swarm", "register", "nineteen-w")
    with started(shared_server, "escalations", "--watch", "--json") as watch:
        assert watch.stdout is not None
        while "snapshot_end" not in json.loads(watch.stdout.readline()):
            pass
        cli("breaker", "trip", "nineteen-w", "--reason", "it loops")
        event = json.loads(watch.stdout.readline())
        assert event["changed"]["escalation_id"] == "breaker:nineteen-w"
        assert event["cursor"]
        cli("escalations", "ack", "breaker:nineteen-w", "--by", "mary")
        assert json.loads(watch.stdout.readline())["changed"]["acknowledged_by"] == "mary"


def test_u3_a_tail_says_that_nothing_of_the_kind_was_recorded_yet(
    shared_server: ServerProcess,
) -> None:
    with started(shared_server, "witness", "tail", "--operation", "clam_won") as tail:
        assert tail.stderr is not None
        said = tail.stderr.readline()
    assert said.startswith("no entry has the operation clam_won; ")
    assert said.endswith("; waiting for the first one\n")


@pytest.mark.embedded
async def test_n10_a_person_hears_that_a_watched_fabric_is_away_and_that_it_is_back(
    server: ServerProcess,
) -> None:
    watch = await asyncio.create_subprocess_exec(
        *(COMMAND, "tasks", "watch", "--json", "--server", server.grpc),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert watch.stdout is not None
    assert watch.stderr is not None
    try:
        assert "snapshot_end" in json.loads(await watch.stdout.readline())
        await server.kill()
        away = await watch.stderr.readline()
        assert away.decode().startswith(f"no answer from {server.grpc}: ")
        assert (
            await watch.stderr.readline()
            == b"It is asked again until it answers; Ctrl-C ends this.\n"
        )
        await server.start()
        assert (await watch.stderr.readline()).decode() == f"{server.grpc} answers again\n"
        async with Client(server.grpc) as client:
            await client.tasks.create(Task(task_id="after"))
        changed = json.loads(await watch.stdout.readline())
        assert changed["changed"]["task_id"] == "after"
    finally:
        watch.kill()
        rest = await watch.communicate()
    assert rest == (b"", b"")


def test_u3_output_that_nobody_takes_ends_the_command_without_a_traceback(
    cli: Cli, shared_server: ServerProcess
) -> None:
    cli("swarm", "register", "sixteen-w")
    with started(shared_server, "swarm", "list", "--json") as closed:
        assert closed.stdout is not None
        closed.stdout.close()
        assert closed.wait(20) == ExitCode.PIPE_CLOSED
        assert closed.stderr is not None
        assert closed.stderr.read() == ""
        # Closed here, it is not read again when the block ends.
        closed.stdout = None
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [COMMAND, "swarm", "list", "--server", shared_server.grpc],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=20,
        )
    assert done.returncode == ExitCode.REFUSED
    assert done.stderr == "the output cannot be written: No space left on device\n"


@contextmanager
def live_status(server: ServerProcess) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """Run `infrafabric status` on a terminal, and end it with the block."""
    terminal, inside = pty.openpty()
    process = subprocess.Popen(
        [COMMAND, "status"],
        stdin=inside,
        stdout=inside,
        stderr=inside,
        env={
            **os.environ,
            "INFRAFABRIC_SERVER": server.grpc,
            "COLUMNS": "160",
            # Other tests have swarms on this server as well.
            "LINES": "200",
            "TERM": "xterm",
        },
    )
    os.close(inside)
    try:
        yield terminal, process
    finally:
        process.kill()
        process.wait()
        os.close(terminal)


def test_status_is_live_on_a_terminal(cli: Cli, shared_server: ServerProcess) -> None:
    cli("notify", "busy", "first task", "--swarm", "fourteen-w")
    with live_status(shared_server) as (terminal, process):
        _read_until(terminal, "first task")
        cli("notify", "busy", "\x1b[2Jsecond task", "--swarm", "fourteen-w")
        shown = _read_until(terminal, "second task")
        assert "\\x1b[2J" in shown
        cli("breaker", "trip", "fourteen-w", "--reason", "it loops")
        _read_until(terminal, "breaker open: fourteen-w for ")
        process.send_signal(signal.SIGINT)
        left = _read_until(terminal, LEAVE_SCREEN).partition(LEAVE_SCREEN)[2]
        # The screen is as it was before, and what was shown last is on it once.
        last = _read_until(terminal, "second task", left)
        assert ENTER_SCREEN not in last
        assert last.count("waiting for work") == 1
        assert process.wait(10) == ExitCode.INTERRUPTED


@pytest.mark.embedded
async def test_n10_a_live_status_says_that_it_is_as_it_was(server: ServerProcess) -> None:
    async with Client(server.grpc) as client:
        await client.swarms.register("kept", [])
    with live_status(server) as (terminal, _):
        _read_until(terminal, "kept")
        await server.kill()
        away = _read_until(terminal, "as it was, no answer from")
        assert "asked again" not in away, "nothing is written beside the screen"
        await server.start()
        async with Client(server.grpc) as client:
            await client.swarms.register("later", [])
        back = _read_until(terminal, "later")
    # Each frame begins where the cursor is put home.
    assert "no answer" not in back.split("\x1b[H")[-1]


def _read_until(terminal: int, text: str, shown: str = "") -> str:
    while text not in shown:
        ready, _, _ = select.select([terminal], [], [], 20)
        assert ready, f"{text!r} did not come; what came: {shown!r}"
        shown += os.read(terminal, 65536).decode(errors="replace")
    return shown


def test_serve_ends_with_0_when_it_is_asked_to(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [
            *(COMMAND, "serve", "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0"),
            *("--data", str(tmp_path)),
            *setups.arguments(os.environ, tmp_path),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        ready = process.stdout.readline()
        assert ready.startswith("ready grpc=127.0.0.1:")
        process.terminate()
        rest, _ = process.communicate(timeout=20)
    finally:
        process.kill()
        process.wait()
    assert (rest, process.returncode) == ("", 0)


def refused_to_start(*arguments: str | Path) -> str:
    """Start a server that must refuse to; return the one line that says why."""
    done = subprocess.run(
        [COMMAND, "serve", *arguments], capture_output=True, text=True, check=False, timeout=30
    )
    assert (done.returncode, done.stdout) == (ExitCode.REFUSED, "")
    # gRPC's own library writes a line of its own before ours when a port is taken.
    refusal: dict[str, str] = json.loads(done.stderr.splitlines()[-1])
    assert refusal["event"] == "refused_to_start"
    return refusal["reason"]


@pytest.mark.embedded
def test_u3_a_person_at_a_terminal_reads_why_a_server_does_not_start(
    shared_server: ServerProcess,
) -> None:
    terminal, inside = pty.openpty()
    anywhere = ("--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0")
    done = subprocess.run(
        [COMMAND, "serve", *anywhere, "--data", shared_server.data],
        stdout=subprocess.PIPE,
        stderr=inside,
        check=False,
        timeout=30,
    )
    os.close(inside)
    told = _read_until(terminal, "\n")
    os.close(terminal)
    assert (done.returncode, done.stdout) == (ExitCode.REFUSED, b"")
    assert told.startswith("not started: ")
    assert "in use" in told


@pytest.mark.embedded
def test_w2_a_person_at_a_terminal_reads_the_log_as_a_table(
    cli: Cli, shared_server: ServerProcess
) -> None:
    cli("swarm", "register", "twenty-w")
    cli("tasks", "create", "x", "--id", "twenty-t", "--dispatch", "manual")
    cli("tasks", "claim", "twenty-t", "--swarm", "twenty-w")
    terminal, inside = pty.openpty()
    subprocess.run(
        [COMMAND, "witness", "query", "--task", "twenty-t"],
        stdout=inside,
        env={**os.environ, "INFRAFABRIC_SERVER": shared_server.grpc, "COLUMNS": "120"},
        check=True,
        timeout=30,
    )
    os.close(inside)
    names, rule, *entries = _read_until(terminal, "policy_hash").splitlines()
    os.close(terminal)
    assert names.split() == ["sequence", "time", "operation", "swarm", "task", "attempt", "details"]
    assert set(rule) == {"-", " "}
    assert any("claim_won" in each and "twenty-w" in each for each in entries)


@pytest.mark.embedded
def test_a_data_folder_in_use_is_refused(shared_server: ServerProcess) -> None:
    anywhere = ("--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0")
    assert "in use" in refused_to_start(*anywhere, "--data", shared_server.data)


@pytest.mark.parametrize("taken", ["grpc", "http"])
def test_a_port_in_use_is_refused_by_its_address(
    shared_server: ServerProcess, tmp_path: Path, taken: str
) -> None:
    addresses = {"grpc": "127.0.0.1:0", "http": "127.0.0.1:0"}
    addresses[taken] = getattr(shared_server, taken)
    flags = [word for name, address in addresses.items() for word in (f"--{name}", address)]
    reason = refused_to_start(*flags, "--data", tmp_path)
    assert f"cannot listen at {addresses[taken]}" in reason


def test_the_command_names_its_release() -> None:
    said = subprocess.run([COMMAND, "--version"], capture_output=True, text=True, check=True)
    assert said.stdout == f"infrafabric {version('infrafabric')}\n"
