import fcntl
import os
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest

from infrafabric_server.store.protocol import Put, StoreRefused
from infrafabric_server.store.sqlite import SqliteStore
from infrafabric_server.store.sqlite.datadir import DataDir
from tests.harness.file_limit import file_limit


@pytest.fixture
async def data(tmp_path: Path) -> Path:
    """A data directory with something in it."""
    path = tmp_path / "data"
    store = await SqliteStore.open(path)
    await store.txn([], [Put(f"key{n}", "x" * 2000) for n in range(200)])
    await store.close()
    return path


def altered(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path / "fabric.db", isolation_level=None)) as connection:
        connection.execute(statement)


def modes(*paths: Path) -> list[int]:
    return [stat.S_IMODE(path.stat().st_mode) for path in paths]


async def refusal(path: Path) -> str:
    with pytest.raises(StoreRefused) as refused:
        await SqliteStore.open(path)
    # Whatever was wrong, the directory is free again for who repairs it.
    if (path / "fabric.lock").exists():
        with (path / "fabric.lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return str(refused.value)


async def test_only_the_owner_can_read_the_data(data: Path) -> None:
    store = await SqliteStore.open(data)
    await store.txn([], [Put("a", "1")])
    files = [data / name for name in ("fabric.db", "fabric.db-shm", "fabric.db-wal", "fabric.lock")]
    assert modes(data, *files) == [0o700, 0o600, 0o600, 0o600, 0o600]
    await store.close()


def test_every_commit_is_flushed_to_the_disk(tmp_path: Path) -> None:
    """No test can cut the power; so this one looks at what SQLite was told."""
    directory = DataDir(tmp_path)
    for connection in (directory.connection, *directory.readers):
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    directory.close()


async def test_a_directory_in_use_is_refused_and_later_free(data: Path) -> None:
    store = await SqliteStore.open(data)
    with pytest.raises(StoreRefused, match="in use by another process"):
        await SqliteStore.open(data)
    await store.txn([], [Put("a", "still works")])
    await store.close()
    again = await SqliteStore.open(data)
    assert await again.revision() == 2
    await again.close()


async def test_a_newer_format_is_refused_with_both_versions(data: Path) -> None:
    altered(data, "PRAGMA user_version = 7")
    said = await refusal(data)
    assert "format 7" in said
    assert "format 1" in said


async def test_another_programs_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.mkdir()
    altered(path, "CREATE TABLE theirs (a)")
    before = (path / "fabric.db").read_bytes()
    assert "not a database of this program" in await refusal(path)
    assert (path / "fabric.db").read_bytes() == before


async def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.mkdir()
    (path / "fabric.db").write_bytes(b"not a database" * 1000)
    assert "backup" in await refusal(path)


async def test_a_damaged_page_is_refused(data: Path) -> None:
    with (data / "fabric.db").open("r+b") as file:
        file.seek(4096 * 20)
        file.write(b"\xff" * 4096 * 10)
    assert "damaged" in await refusal(data)


async def test_a_cut_file_is_refused(data: Path) -> None:
    os.truncate(data / "fabric.db", 4096 * 20)
    assert "backup" in await refusal(data)


@pytest.mark.parametrize(
    "statement",
    ["DELETE FROM meta WHERE name = 'compacted'", "DROP TABLE meta", "DROP TABLE leases"],
)
async def test_missing_parts_are_refused(data: Path, statement: str) -> None:
    altered(data, statement)
    assert "backup" in await refusal(data)


async def test_a_path_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StoreRefused, match="choose another"):
            await SqliteStore.open(path)


async def test_a_database_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    # A directory in its place: the superuser, too, cannot write to that.
    (tmp_path / "fabric.db").mkdir()
    assert "cannot write to" in await refusal(tmp_path)


async def test_a_disk_that_cannot_be_written_is_not_taken_for_damage(data: Path) -> None:
    with file_limit(1024):
        said = await refusal(data)
    assert "make room on the disk" in said
    assert "backup" not in said
    store = await SqliteStore.open(data)
    assert await store.revision() == 1
    await store.close()


async def test_an_opening_cut_short_leaves_nothing_behind(tmp_path: Path) -> None:
    """A crash between making the file and its tables leaves an empty file."""
    (tmp_path / "fabric.db").touch()
    store = await SqliteStore.open(tmp_path)
    await store.txn([], [Put("a", "1")])
    await store.close()
