"""Messages in lists that each fit into one answer."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from google.protobuf.message import Message

ANSWER_BYTES = 3 * 1024 * 1024
"""Within the 4 MiB that a client of gRPC takes unless it is told otherwise."""

MessageT = TypeVar("MessageT", bound=Message)


def batches(
    messages: Iterable[MessageT], *, most_bytes: int = ANSWER_BYTES, most: int | None = None
) -> Iterator[list[MessageT]]:
    """Yield messages in their order, in as few lists as can be; none is empty.

    Args:
        messages: are asked for one at a time, so that whoever wants the first list pays for it
            alone.
        most_bytes: of a list; a message that is larger is a list of its own.
        most: messages in a list; None for any number.
    """
    batch: list[MessageT] = []
    room = most_bytes
    for message in messages:
        size = message.ByteSize()
        if batch and (size > room or len(batch) == most):
            yield batch
            batch, room = [], most_bytes
        batch.append(message)
        room -= size
    if batch:
        yield batch
