"""A witness log that NATS has lost, put back from the copy that a replica has in its folder."""

import asyncio
from pathlib import Path

from infrafabric_server.store.protocol import StoreRefused
from infrafabric_server.transfer import stream_log
from infrafabric_server.transfer.cluster import Cluster
from infrafabric_server.transfer.dumpfile import Ending, check_link
from infrafabric_server.witness.chain import GENESIS
from infrafabric_server.witness.models import Sealed
from infrafabric_server.witness.sqlite_open import read_log


async def put_back(directory: Path, place: Cluster) -> Sealed | None:
    """Append to the stream of a fabric what it lacks of the log in `directory`.

    Returns where the log ends now, None when there is nothing in it.

    Raises:
        ChainBrokenError: the copy is damaged, or ends before what was sealed; nothing was
            written then.
        StoreError: a server runs, the stream holds more than the copy or another log, or one
            of them cannot be read or written.
    """
    await place.check_unused()
    ending = await asyncio.to_thread(_read, directory, await place.sealed())
    entries = read_log(directory)
    head, more = await stream_log.going_on(place.log, entries)
    if head is not None and more:
        raise StoreRefused(
            f"the stream goes up to entry {head.sequence}, beyond the copy in {directory}: "
            "it lacks nothing that the copy has"
        )
    await stream_log.extend(place.log, entries)
    return ending


def _read(directory: Path, sealed: Sealed | None) -> Sealed | None:
    sequence, head = 0, GENESIS
    ending = Ending(sealed)
    for entry in read_log(directory):
        check_link(entry, sequence, head)
        ending.add(entry)
        sequence, head = entry.sequence, entry.hash
    ending.check()
    return Sealed(sequence=sequence, hash=head) if sequence else None
