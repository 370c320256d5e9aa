"""Writes to a store until it is killed; prints what was acknowledged, as soon as it was."""

import asyncio
import sys
from itertools import count
from pathlib import Path

from infrafabric_server.store.protocol import Delete, Op, Put
from infrafabric_server.store.sqlite import SqliteStore


async def main(path: Path) -> None:
    store = await SqliteStore.open(path)
    begin = await store.revision()

    async def write(writer: int) -> None:
        for n in count():
            value = f"{begin}/{n}"
            ops: list[Op] = [Put(f"{writer}/a", value), Put(f"{writer}/b", value)]
            ops.append(Put(f"{writer}/new/{value}", "") if n % 2 else Delete(f"{writer}/old"))
            result = await store.txn([], ops)
            sys.stdout.write(f"{result.revision} {writer} {value}\n")
            sys.stdout.flush()

    async with asyncio.TaskGroup() as group:
        for writer in range(8):
            group.create_task(write(writer))


asyncio.run(main(Path(sys.argv[1])))
