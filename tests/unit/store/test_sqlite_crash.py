import asyncio
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

from infrafabric_server.store.sqlite import SqliteStore
from tests.contract.worlds import watched


async def killed_after(path: Path, lines: int) -> dict[int, tuple[str, str]]:
    """Let a process write and kill it; return what it had acknowledged, by revision."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.unit.store.crash_child", str(path), stdout=PIPE
    )
    assert child.stdout is not None
    said = [await child.stdout.readline() for _ in range(lines)]
    child.kill()
    said.append(await child.stdout.read())
    await child.wait()
    whole = b"".join(said).decode().rpartition("\n")[0]
    rows = [line.split() for line in whole.splitlines()]
    return {int(revision): (writer, value) for revision, writer, value in rows}


async def test_a_killed_process_loses_nothing_that_it_acknowledged(tmp_path: Path) -> None:
    """U6: after kill -9 every acknowledged write is there, whole, and no revision is missing."""
    acknowledged: dict[int, tuple[str, str]] = {}
    for lines in (1, 100, 1500, 3000):
        acknowledged |= await killed_after(tmp_path, lines)
        store = await SqliteStore.open(tmp_path)
        newest = await store.revision()
        batches = await watched(store, "", 1, newest)
        assert [batch.revision for batch in batches] == list(range(1, newest + 1))
        told = {}
        for batch in batches:
            values = {event.key: event.kv.value for event in batch.events if event.kv}
            (writer,) = {key.partition("/")[0] for key in values}
            assert values[f"{writer}/a"] == values[f"{writer}/b"]
            told[batch.revision] = (writer, values[f"{writer}/a"])
        assert acknowledged.items() <= told.items()
        for name in map(str, range(8)):
            last = [value for writer, value in told.values() if writer == name]
            kv = await store.get(f"{name}/a")
            assert (kv.value if kv else None) == (last[-1] if last else None)
        await store.close()
    assert len(acknowledged) >= 4601
