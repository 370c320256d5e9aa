"""The port to the stream that several replicas keep their log in."""

from dataclasses import dataclass
from typing import Protocol

from infrafabric_server.store.protocol import StoreError


@dataclass(frozen=True, slots=True)
class Message:
    """One message: a batch of entries. `position` counts from 1 without holes."""

    position: int
    payload: bytes


class Superseded(StoreError):
    """Somebody else appended; this message was not and will not be."""


class LogStream(Protocol):
    """A durable, replicated sequence of messages that nobody can change or remove.

    Every method may raise StoreUnavailable, also for a stream that is gone, or is not what
    this protocol says.
    """

    @property
    def room(self) -> int:
        """The largest payload that fits into a message, in bytes."""
        ...

    async def create(self) -> None:
        """Make the stream, if it is not there."""
        ...

    async def last(self) -> Message | None:
        """Return the last message; None for a stream that is empty, or not there."""
        ...

    async def get(self, position: int) -> Message | None:
        """Return one message; None when there is none there."""
        ...

    async def append(self, payload: bytes, after: int) -> int:
        """Add a message right behind the position `after`; return its position.

        When it returns, the message is durable. Raises Superseded when it is not the next
        one; after StoreUnavailable it is unknown whether it was added, or will be yet.
        """
        ...
