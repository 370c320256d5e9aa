"""X1: the box from the command line, with the privileges of root and without."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from infrafabric_cli.main import app
from tests.harness.wat import command, core, wasi, write

pytestmark = pytest.mark.embedded

# Root in name only, as in many containers.
_POWERLESS = ("setpriv", "--bounding-set=-all", "--inh-caps=-all")

_INPUT = b'{"text":"as it is"}'


def _run(*arguments: str, given: bytes = b"") -> Result:
    return CliRunner().invoke(app, ["chassis", *arguments], input=given)


def _powerless(*arguments: str, given: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
    program = str(Path(sys.executable).with_name("infrafabric"))
    return subprocess.run(
        [*_POWERLESS, program, "chassis", *arguments],
        input=given,
        capture_output=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def echo(tmp_path: Path) -> Path:
    """Return a file with a module that gives back what it reads."""
    path = tmp_path / "echo.wat"
    path.write_bytes(core())
    return path


def _report(answer: str | bytes) -> dict[str, tuple[bool, str]]:
    return {it["name"]: (it["held"], it["detail"]) for it in json.loads(answer)["layers"]}


def test_x2_the_doctor_names_the_layers_that_hold() -> None:
    done = _run("doctor", "--json")
    layers = _report(done.stdout)
    names = ["network", "user", "no_new_privs", "rlimits", "landlock", "seccomp", "cpu"]
    assert list(layers) == names
    assert done.exit_code == (not all(held for held, _ in layers.values()))
    plain = _run("doctor").stdout.splitlines()
    assert plain[0] == "layer\tstate\tdetail"
    assert [line.split("\t")[0] for line in plain[1:]] == names


def test_x2_without_privileges_the_doctor_says_what_is_missing() -> None:
    done = _powerless("doctor", "--json")
    layers = _report(done.stdout)
    assert layers.pop("network") == (False, "unshare: Operation not permitted")
    assert layers.pop("user") == (False, "Operation not permitted")
    assert [name for name, (held, _) in layers.items() if not held] == []
    assert done.returncode == 1


def test_x1_a_module_runs_without_privileges_as_well(echo: Path, tmp_path: Path) -> None:
    cache = ("--cache", str(tmp_path / "cache"))
    done = _powerless("run", str(echo), "--input", "-", *cache, given=_INPUT)
    assert (done.returncode, done.stdout, done.stderr) == (0, _INPUT, b"")


def test_x1_the_command_prints_the_result_or_why_there_is_none(echo: Path, tmp_path: Path) -> None:
    cache = ("--cache", str(tmp_path / "cache"))
    done = _run("run", str(echo), "--input", "-", *cache, given=_INPUT)
    assert (done.exit_code, done.stdout, done.stderr) == (0, _INPUT.decode(), "")
    echo.write_bytes(core("unreachable"))
    failed = _run("run", str(echo), *cache)
    assert (failed.exit_code, failed.stdout) == (1, "")
    assert "trap: wasm trap: wasm `unreachable` instruction executed" in failed.stderr


def test_u3_a_module_reads_what_every_other_command_takes(echo: Path, tmp_path: Path) -> None:
    run = ("run", str(echo), "--cache", str(tmp_path / "cache"))
    file = tmp_path / "task.json"
    file.write_bytes(_INPUT)
    given = {"itself": _INPUT.decode(), "file": f"@{file}"}
    assert {
        how: _run(*run, "--input", text).stdout for how, text in given.items()
    } == dict.fromkeys(given, _INPUT.decode())
    assert _run(*run).stdout == "{}", "what a server gives it, without an input"
    bare = _run(*run, "--input", str(file))
    assert (bare.exit_code, bare.stdout) == (2, "")
    assert "@" in bare.stderr


def test_x1_an_output_that_a_server_would_refuse_is_no_result(tmp_path: Path) -> None:
    path = tmp_path / "list.wat"
    path.write_bytes(
        command(write(1, 16, 3), wasi("fd_write", "iiii"), '(data (i32.const 16) "[1]")')
    )
    run = ("run", str(path), "--cache", str(tmp_path / "cache"))
    done = _run(*run)
    assert (done.exit_code, done.stdout) == (1, "[1]")
    assert done.stderr == "the output is a JSON array, and must be an object\n"
    document = json.loads(_run(*run, "--json").stdout)
    assert (document["succeeded"], document["output"], document["exit_code"]) == (False, "[1]", 0)


def test_x2_the_command_says_which_limit_was_reached(tmp_path: Path) -> None:
    path = tmp_path / "forever.wat"
    path.write_bytes(command("(loop $again (br $again))"))
    arguments = ("run", str(path), "--seconds", "0.2", "--cache", str(tmp_path / "cache"))
    done = _run(*arguments)
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == "violation of execution_time: did not end within 200 ms\n"
    document = json.loads(_run(*arguments, "--json").stdout)
    assert document["violations"][0]["kind"] == "VIOLATION_KIND_EXECUTION_TIME"
    assert (document["succeeded"], document["output"]) == (False, "")
    assert document["reason"] == "execution_time: did not end within 200 ms"
    assert "result" not in document


def test_x1_what_cannot_be_run_is_refused_with_a_reason(echo: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    path = tmp_path / "no.wasm"
    assert _run("run", str(path)).exit_code == 2
    path.write_bytes(b"\0asm nonsense")
    done = _run("run", str(path), "--cache", str(cache))
    assert done.exit_code == 1
    assert "unknown binary version" in done.stderr
    cache.chmod(0o755)
    done = _run("run", str(echo), "--cache", str(cache))
    assert done.exit_code == 1
    assert "compiled modules need a folder of mode 700" in done.stderr
