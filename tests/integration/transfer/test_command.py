"""What the exit codes of `infrafabric store` tell, each with one line of reason."""

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from infrafabric_cli.exit_codes import ExitCode
from tests.integration.transfer.kit import made

COMMAND = Path(sys.executable).parent / "infrafabric"
_NOBODY = ("--store", "etcd://127.0.0.1:1/x", "--bus", "nats://127.0.0.1:1")


@pytest.fixture
async def folder(tmp_path: Path) -> Path:
    await made(tmp_path / "data")
    return tmp_path / "data"


def store(*arguments: str | Path, code: ExitCode = ExitCode.DONE) -> str:
    done = subprocess.run(
        [COMMAND, "store", *arguments], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == code, done.stderr
    if code is not ExitCode.DONE:
        assert done.stdout == ""
        assert done.stderr.count("\n") == 1
    return done.stderr or done.stdout


def test_done(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "dump"
    told = json.loads(store("dump", file, "--data", folder, "--json"))
    assert set(told) == {"keys", "leased", "entries", "hash"}
    assert json.loads(store("restore", file, "--data", tmp_path / "new", "--json")) == told


def test_refused(tmp_path: Path) -> None:
    missing = ("dump", tmp_path / "dump", "--data", tmp_path)
    assert "cannot be read" in store(*missing, code=ExitCode.REFUSED)


def test_wrong_use(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "dump"
    file.write_text("{}\n")
    assert "not a dump" in store("restore", file, "--data", tmp_path / "a", code=ExitCode.USAGE)
    both = ("migrate", "--from", folder, "--to", tmp_path / "b")
    assert "etcd://" in store(*both, code=ExitCode.USAGE)


def test_unreachable(tmp_path: Path) -> None:
    assert "NATS" in store("dump", tmp_path / "dump", *_NOBODY, code=ExitCode.UNREACHABLE)


def test_a_damaged_witness_log_is_not_dumped(folder: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(folder / "witness.db")) as log:
        log.execute("DROP TRIGGER entries_stay")
        log.execute("UPDATE entries SET body = replace(body, 'kit', 'cat') WHERE sequence = 2")
        log.commit()
    file = tmp_path / "dump"
    assert "entry 2" in store("dump", file, "--data", folder, code=ExitCode.TAMPERED)
    assert not file.exists()
