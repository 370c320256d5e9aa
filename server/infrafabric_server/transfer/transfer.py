"""Dump, restore, and both with a comparison: migrate."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import datetime
from pathlib import Path

from infrafabric_server.store.protocol import KeyValue, StoreRefused
from infrafabric_server.transfer.dumpfile import DumpWriter, Ending, Header, Summary
from infrafabric_server.transfer.dumpreader import Dump
from infrafabric_server.transfer.places import Place, Source
from infrafabric_server.transfer.revisions import Renumber, same
from infrafabric_server.witness.models import Entry, Sealed
from infrafabric_server.witness.waiting import SEALED, read_sealed


async def dump(source: Source, path: Path, now: datetime) -> Summary:
    """Write a fabric into the file `path`; servers may go on meanwhile.

    Raises:
        StoreError: the fabric cannot be read.
        DumpError: the file cannot be written, or the witness log is broken or cut off.
    """
    with DumpWriter(path, Header(source.revision, now, source.kind)) as writer:
        sealed: Sealed | None = None
        async for kv in source.kvs():
            writer.key(kv)
            if kv.key == SEALED:
                sealed = read_sealed(kv.value)
        ending = Ending(sealed)
        async for entry in _decided(source):
            writer.entry(entry)
            ending.add(entry)
        ending.check()
        return writer.finish()


async def restore(path: Path, place: Place) -> Summary:
    """Make of the file `path` a fabric at `place`, where none may be.

    Raises:
        DumpError: the file is not a whole dump; nothing was written then.
        StoreError: the place is not empty, or cannot be written.
    """
    whole = await asyncio.to_thread(Dump, path)
    await place.check_empty()
    await place.fill(whole)
    return whole.summary


async def migrate(source: Place, path: Path, target: Place, now: datetime) -> Summary:
    """Take a fabric from one place to an empty other one, and compare the two.

    Args:
        source: where it is and stays; no server may run on it.
        path: of the dump that is made on the way, and kept.
        target: where it comes to be as well.
        now: the time.

    Raises:
        DumpError: the dump cannot be written or read.
        StoreError: a server runs on the source, the target is not empty, or one of the two
            cannot be read or written; or what is there afterwards is not the same.
    """
    await source.check_unused()
    await target.check_empty()
    summary = await dump(await source.source(), path, now)
    renumber = await target.fill(await asyncio.to_thread(Dump, path))
    await source.check_unused()
    await compare(await source.source(), await target.source(), renumber)
    return summary


async def compare(one: Source, other: Source, renumber: Renumber) -> None:
    """Check that two fabrics have the same keys, values, ages and witness log.

    Args:
        one: what was restored.
        other: what came of it.
        renumber: which revisions became which.

    Raises:
        StoreRefused: it names the first difference.
    """
    async with aclosing(_stable(one)) as ours, aclosing(_stable(other)) as theirs:
        async for kv in ours:
            found = await anext(theirs, None)
            if found is None or found.key != kv.key:
                raise _differs(f"the key {kv.key}")
            ages = renumber(kv.create_revision), renumber(kv.mod_revision)
            if (found.create_revision, found.mod_revision) != ages:
                raise _differs(f"the revisions of {kv.key}")
            if not same(kv.key, kv.value, found.value, renumber):
                raise _differs(f"the value of {kv.key}")
        if (found := await anext(theirs, None)) is not None:
            raise _differs(f"the key {found.key}")
    async with aclosing(_decided(one)) as ours_log, aclosing(other.entries()) as their_log:
        async for entry in ours_log:
            if await anext(their_log, None) != entry:
                raise _differs(f"entry {entry.sequence} of the witness log")
        if (more := await anext(their_log, None)) is not None:
            raise _differs(f"entry {more.sequence} of the witness log")


async def _stable(source: Source) -> AsyncGenerator[KeyValue, None]:
    async for kv in source.kvs():
        if not kv.lease:
            yield kv


async def _decided(source: Source) -> AsyncGenerator[Entry, None]:
    # The log goes on; what is sealed was decided in order.
    async for entry in source.entries():
        if entry.revision > source.revision:
            return
        yield entry


def _differs(what: str) -> StoreRefused:
    return StoreRefused(
        f"{what} differs between the source and the target: stop every server of both, remove the "
        "target, and migrate again"
    )
