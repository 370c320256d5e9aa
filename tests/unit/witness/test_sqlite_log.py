import sqlite3
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path

import pytest

from infrafabric_server.store.protocol import KeyValue, StoreRefused, StoreUnavailable
from infrafabric_server.witness import sqlite_rows
from infrafabric_server.witness.chain import Break, verify
from infrafabric_server.witness.models import EntryFilter
from infrafabric_server.witness.outbox import MAX_DRAFT_CHARACTERS
from infrafabric_server.witness.sqlite_log import SqliteWitnessLog
from infrafabric_server.witness.sqlite_open import read_log
from tests.harness.file_limit import file_limit
from tests.unit.witness.support import drafts, everything


@asynccontextmanager
async def opened(directory: Path) -> AsyncIterator[SqliteWitnessLog]:
    log = await SqliteWitnessLog.open(directory)
    try:
        yield log
    finally:
        await log.close()


async def written(directory: Path, count: int = 5) -> Path:
    """Write a log of `count` entries, close it, and return its file."""
    async with opened(directory) as log:
        await log.append(drafts(count))
    return directory / "witness.db"


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def move(source: Path, target: Path) -> None:
    """Move a database with the two files that belong to it."""
    for suffix in ("", "-wal", "-shm"):
        source.with_name(source.name + suffix).rename(target.with_name(target.name + suffix))


def tamper(path: Path, *statements: str) -> None:
    """Change the file behind the server's back, as one who can write to the disk may."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TRIGGER entries_keep")
        connection.execute("DROP TRIGGER entries_stay")
        for statement in statements:
            connection.execute(statement)
        connection.commit()


async def test_what_was_written_is_there_after_a_restart(tmp_path: Path) -> None:
    waiting = drafts(8)
    async with opened(tmp_path) as log:
        before = await log.append(waiting[:5])
    async with opened(tmp_path) as log:
        assert await everything(log) == before
        await log.append(waiting)
        assert verify(await everything(log)).sequence == 8


async def test_the_file_is_for_its_owner_only(tmp_path: Path) -> None:
    async with opened(tmp_path) as log:
        await log.append(drafts(1))
        names = ["witness.db", "witness.db-wal", "witness.db-shm", "witness.lock"]
        modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in names}
    assert modes == {0o600}


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM entries WHERE sequence = 5",
        "UPDATE entries SET body = 'x' WHERE sequence = 2",
        "INSERT OR REPLACE INTO entries SELECT * FROM entries WHERE sequence = 3",
    ],
)
async def test_w1_the_table_is_append_only(tmp_path: Path, statement: str) -> None:
    path = await written(tmp_path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA recursive_triggers = ON")
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            connection.execute(statement)


@pytest.mark.parametrize(
    ("statement", "bad"),
    [
        ("DELETE FROM entries WHERE sequence = 3", 3),
        (
            "UPDATE entries SET body = replace(body, 'claim_won', 'claim_lost') WHERE sequence = 2",
            2,
        ),
        ("UPDATE entries SET task_id = 'hidden' WHERE sequence = 4", 4),
        ("UPDATE entries SET decide_time = 9223372036854775807 WHERE sequence = 4", 4),
        ("UPDATE entries SET revision = 9 WHERE sequence = 1", 1),
        ("UPDATE entries SET body = CAST(x'ff' AS TEXT) WHERE sequence = 2", 2),
        ("UPDATE entries SET sequence = 9 WHERE sequence = 2", 2),
    ],
)
async def test_w1_what_was_done_to_the_file_is_found(
    tmp_path: Path, statement: str, bad: int
) -> None:
    path = await written(tmp_path)
    tamper(path, statement)
    broken = verify(read_log(tmp_path)).broken
    assert isinstance(broken, Break)
    assert broken.sequence == bad


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE entries SET sequence = NULL WHERE sequence = 1",
        "UPDATE entries SET decide_time = 'noon' WHERE sequence = 1",
        "UPDATE entries SET decide_time = NULL WHERE sequence = 1",
        "UPDATE entries SET body = x'ff' WHERE sequence = 1",
    ],
)
async def test_w1_a_table_made_anew_is_found(tmp_path: Path, change: str) -> None:
    tamper(
        await written(tmp_path),
        "CREATE TABLE loose AS SELECT * FROM entries",
        "DROP TABLE entries",
        "ALTER TABLE loose RENAME TO entries",
        change,
    )
    broken = verify(read_log(tmp_path)).broken
    assert broken is not None
    assert broken.sequence == 1


async def test_w1_a_byte_that_is_no_text_does_not_pass_for_a_replacement(tmp_path: Path) -> None:
    async with opened(tmp_path) as log:
        draft = drafts(1)[0]
        await log.append([replace(draft, value=draft.value.replace("übrig", "\ufffd"))])
    assert verify(read_log(tmp_path)).broken is None
    tamper(
        tmp_path / "witness.db",
        "UPDATE entries SET body = CAST(replace(CAST(body AS BLOB), x'efbfbd', x'ff') AS TEXT)",
    )
    assert verify(read_log(tmp_path)).broken is not None


async def test_a_running_log_can_be_verified_from_outside(tmp_path: Path) -> None:
    async with opened(tmp_path) as log:
        await log.append(drafts(7))
        assert verify(read_log(tmp_path)).sequence == 7


async def test_without_a_log_there_is_nothing_to_verify(tmp_path: Path) -> None:
    with pytest.raises(StoreRefused, match="cannot read"):
        verify(read_log(tmp_path))


async def test_a_closed_log_is_one_file(tmp_path: Path) -> None:
    async with opened(tmp_path) as log:
        await log.append(drafts(7))
        assert await log.last() is not None
    assert names(tmp_path) == {"witness.db", "witness.lock"}
    assert verify(read_log(tmp_path)).sequence == 7


async def test_a_log_in_use_is_refused(tmp_path: Path) -> None:
    async with opened(tmp_path):
        with pytest.raises(StoreRefused, match="in use by another server"):
            await SqliteWitnessLog.open(tmp_path)
    await written(tmp_path)


async def test_a_missing_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreRefused, match="No such file"):
        await SqliteWitnessLog.open(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("statements", "why"),
    [
        (["PRAGMA user_version = 2"], "has format 2, and this release knows format 1"),
        (["PRAGMA application_id = 7"], "is not a witness log"),
        (["DELETE FROM entries WHERE sequence = 4"], "does not follow from the one before"),
        (["DELETE FROM entries WHERE sequence < 5"], "does not follow from the one before"),
        (["UPDATE entries SET hash = 'x' WHERE sequence = 5"], "does not follow"),
        (["UPDATE entries SET body = 'x' WHERE sequence = 5"], "entry 5: its body is not"),
        (["DROP TABLE entries"], "no such table"),
    ],
)
async def test_a_log_that_cannot_be_continued_is_refused(
    tmp_path: Path, statements: list[str], why: str
) -> None:
    path = await written(tmp_path)
    tamper(path, *statements)
    with pytest.raises(StoreRefused, match=why):
        await SqliteWitnessLog.open(tmp_path)
    # The refusal let go of the file.
    path.unlink()
    await written(tmp_path)


async def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "witness.db").write_text("Dear diary, today I was no database at all.\n" * 99)
    with pytest.raises(StoreRefused, match="not a database"):
        await SqliteWitnessLog.open(tmp_path)


async def test_a_disk_that_cannot_be_written_is_not_taken_for_damage(tmp_path: Path) -> None:
    with file_limit(1024), pytest.raises(StoreRefused, match="make room on the disk"):
        await SqliteWitnessLog.open(tmp_path)
    await written(tmp_path)


async def test_w1_a_log_that_cannot_be_written_recovers_by_itself(tmp_path: Path) -> None:
    waiting = drafts(4)
    async with opened(tmp_path) as log:
        await log.append(waiting[:2])
        with closing(sqlite3.connect(tmp_path / "witness.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreUnavailable, match="locked"):
                await log.append(waiting[2:])
        await log.append(waiting[2:])
        assert verify(await everything(log)).sequence == 4


async def test_w1_a_lost_file_is_noticed_and_welcome_when_it_is_back(tmp_path: Path) -> None:
    waiting = drafts(6)
    path, away = tmp_path / "witness.db", tmp_path / "away"
    async with opened(tmp_path) as log:
        await log.append(waiting[:3])
        move(path, away)
        with pytest.raises(StoreUnavailable):
            await log.append(waiting[3:])
        with pytest.raises(StoreUnavailable):
            await log.last()
        assert not path.exists()
        move(away, path)
        await log.append(waiting[3:])
        assert verify(await everything(log)).sequence == 6


async def test_w1_an_older_copy_does_not_take_the_place_of_a_lost_file(tmp_path: Path) -> None:
    waiting = drafts(6)
    (tmp_path / "copy").mkdir()
    async with opened(tmp_path / "copy") as copy:
        await copy.append(waiting[:2])
    async with opened(tmp_path) as log:
        await log.append(waiting[:4])
        move(tmp_path / "witness.db", tmp_path / "away")
        (tmp_path / "copy" / "witness.db").rename(tmp_path / "witness.db")
        with pytest.raises(StoreUnavailable, match="lacks entry 4, which was written"):
            await log.append(waiting[4:])


async def test_a_page_of_large_entries_ends_early(tmp_path: Path) -> None:
    text = "x" * (MAX_DRAFT_CHARACTERS - 500)
    large = [
        KeyValue(kv.key, kv.value.replace("übrig", text), kv.create_revision, kv.mod_revision, 1)
        for kv in drafts(12)
    ]
    async with opened(tmp_path) as log:
        await log.append(large)
        page, more = await log.read(EntryFilter(), after=0, upto=12, limit=12)
        assert 1 < len(page) < 12
        assert more
        assert [entry.sequence for entry in await everything(log)] == list(range(1, 13))


async def test_filters_find_their_entries_by_an_index(tmp_path: Path) -> None:
    """A question about one task must not read the whole log."""
    path = await written(tmp_path, 50)
    seen: list[str] = []
    wanted = EntryFilter(task_id="task-1", swarm_id="swarm-1", operation="claim_won")
    with closing(sqlite3.connect(path)) as connection:
        connection.set_trace_callback(seen.append)
        sqlite_rows.read(connection, wanted, 0, 50, 10)
        connection.set_trace_callback(None)
        plan = connection.execute(f"EXPLAIN QUERY PLAN {seen[0]}").fetchall()
    assert [row[3] for row in plan] == [
        "SEARCH entries USING INDEX entries_task (task_id=? AND rowid>? AND rowid<?)"
    ]
