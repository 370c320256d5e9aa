"""A restore that is killed lets no server in, and is repeated."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from infrafabric_server.bus.nats import NatsBus
from infrafabric_server.store.etcd import Access, EtcdAddress, EtcdStore
from infrafabric_server.store.etcd.copying import Fabric
from infrafabric_server.store.protocol import KeyValue, StoreRefused
from infrafabric_server.store.sqlite import SqliteStore
from infrafabric_server.transfer.dumpfile import DumpWriter, Header
from infrafabric_server.witness.chain import GENESIS, seal
from infrafabric_server.witness.jetstream import JetStream
from infrafabric_server.witness.models import Draft
from tests.harness.etcd import Etcd
from tests.harness.nats import Nats
from tests.integration.transfer.kit import NOW

COMMAND = Path(sys.executable).parent / "infrafabric"
_KEYS = 4_000
_ENTRIES = 500
# Between two looks at how far the other process is.
_LOOK = 0.005


@pytest.fixture(scope="module")
def dump(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dump whose restore takes a second or more: no two keys share a revision."""
    file = tmp_path_factory.mktemp("dump") / "fabric.dump"
    with DumpWriter(file, Header(_KEYS, NOW, "sqlite")) as writer:
        for number in range(1, _KEYS + 1):
            writer.key(KeyValue(f"tasks/{number:06}", "{}" + " " * 500, number, number, 1))
        head = GENESIS
        for number in range(1, _ENTRIES + 1):
            draft = Draft(time=NOW, component="kit", operation="said")
            entry = seal(draft, f"id-{number}", number, number, head)
            writer.entry(entry)
            head = entry.hash
        writer.finish()
    return file


async def _killed(arguments: list[str], begun: Callable[[], Awaitable[bool]]) -> None:
    process = await asyncio.create_subprocess_exec(
        COMMAND, "store", "restore", *arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    while not await begun():
        assert process.returncode is None, await process.communicate()
        await asyncio.sleep(_LOOK)
    process.kill()
    await process.communicate()
    assert process.returncode == -signal.SIGKILL


def _restored(arguments: list[str]) -> str:
    done = subprocess.run(
        [COMMAND, "store", "restore", *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


async def test_into_a_folder(tmp_path: Path, dump: Path) -> None:
    folder = tmp_path / "data"
    arguments = [str(dump), "--data", str(folder)]

    async def begun() -> bool:
        return await asyncio.to_thread(os.path.exists, folder / "fabric.restoring")

    await _killed(arguments, begun)
    with pytest.raises(StoreRefused, match="cut off"):
        await SqliteStore.open(folder)
    assert f"{_KEYS} keys" in await asyncio.to_thread(_restored, arguments)
    store = await SqliteStore.open(folder)
    page = await store.range("tasks/", limit=10_000)
    await store.close()
    assert [kv.mod_revision for kv in page.kvs] == list(range(1, _KEYS + 1))


async def test_into_etcd_and_jetstream(tmp_path: Path, dump: Path) -> None:
    with Etcd(tmp_path) as etcd, Nats(tmp_path) as nats:
        address = etcd.address()
        arguments = [str(dump), "--store", str(address), "--bus", nats.address]
        fabric = Fabric(address, Access())
        await _killed(arguments, fabric.was_cut_off)
        await fabric.close()
        with pytest.raises(StoreRefused, match="cut off"):
            await EtcdStore.open(address)
        assert f"{_ENTRIES} witness entries" in await asyncio.to_thread(_restored, arguments)
        await _check(address, nats)


async def _check(address: EtcdAddress, nats: Nats) -> None:
    store = await EtcdStore.open(address)
    page = await store.range("tasks/", limit=10_000)
    await store.close()
    ages = [kv.create_revision for kv in page.kvs]
    assert ages == sorted(set(ages))
    assert len(ages) == _KEYS
    bus = await NatsBus.open(nats.address)
    await bus.ready()
    last = await JetStream(lambda: bus.client, address.prefix).last()
    await bus.close()
    assert last is not None
