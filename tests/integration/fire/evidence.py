"""What the fabric wrote down, to be compared with what it told its callers."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from infrafabric import Client
from infrafabric.v1.entry_pb2 import Entry
from infrafabric.v1.witness_service_pb2 import QueryEntriesRequest
from tests.harness.server import COMMAND

# A task and the attempt under which it was held.
Attempt = tuple[str, int]

# What gives a task to a swarm under a new attempt.
_GIVING = ("claim_won", "task_assigned", "claim_taken_over")


async def entries(client: Client, operation: str) -> list[Entry]:
    """Return all entries of one operation, oldest first."""
    query = QueryEntriesRequest(operation=operation)
    return [entry async for entry in client.witness.query(query)]


async def owners(client: Client) -> dict[Attempt, str]:
    """Return who got each attempt of each task, by the witness log; each was given once."""
    given = [entry for operation in _GIVING for entry in await entries(client, operation)]
    counts = Counter((entry.task_id, entry.attempt) for entry in given)
    assert [attempt for attempt, count in counts.items() if count > 1] == []
    return {(entry.task_id, entry.attempt): entry.swarm_id for entry in given}


async def completions(client: Client) -> dict[str, int]:
    """Return under which attempt each task was completed, by the witness log; each once."""
    done = await entries(client, "task_completed")
    assert len({entry.task_id for entry in done}) == len(done)
    return {entry.task_id: entry.attempt for entry in done}


async def verify(*arguments: str | Path, wrapper: Sequence[str] = ()) -> str:
    """Run `infrafabric witness verify` and return what it prints; it must find nothing."""
    process = await asyncio.create_subprocess_exec(
        *wrapper,
        *(COMMAND, "witness", "verify"),
        *arguments,
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output
    return output.decode()
