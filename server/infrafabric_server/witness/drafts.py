"""From what waits in the outbox to the next entries of the chain."""

from collections.abc import Container, Iterator, Sequence
from datetime import UTC, datetime

from infrafabric_server.store.protocol import KeyValue
from infrafabric_server.witness.chain import GENESIS, seal
from infrafabric_server.witness.models import Draft, Entry
from infrafabric_server.witness.outbox import MAX_DRAFT_CHARACTERS, PREFIX


def entry_ids(waiting: Sequence[KeyValue]) -> list[str]:
    """Return the ids under which drafts are sealed."""
    return [kv.key.removeprefix(PREFIX) for kv in waiting]


def seal_drafts(
    waiting: Sequence[KeyValue], known: Container[str], head: Entry | None
) -> Iterator[Entry]:
    """Yield the entries that follow `head`: the drafts whose ids are not `known`, in order."""
    sequence, previous_hash = (0, GENESIS) if head is None else (head.sequence, head.hash)
    for entry_id, kv in zip(entry_ids(waiting), waiting, strict=True):
        if entry_id not in known:
            sequence += 1
            place = (entry_id, kv.mod_revision, sequence, previous_hash)
            try:
                entry = seal(Draft.model_validate_json(kv.value), *place)
            except (ValueError, OverflowError):
                # Nobody but the outbox writes drafts. One by hand, be it with a number or a
                # time that no entry can hold, must not stop all that come later.
                entry = seal(_unreadable(kv), *place)
            previous_hash = entry.hash
            yield entry


def _unreadable(kv: KeyValue) -> Draft:
    return Draft(
        time=datetime.fromtimestamp(0, UTC),
        component="witness",
        operation="draft_unreadable",
        details={"value": kv.value[:MAX_DRAFT_CHARACTERS]},
    )
