"""The port to news between replicas: fast, and allowed to lose anything.

Nothing may depend on a message: what matters is in the store, and comes from there as well.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

Listener = Callable[[bytes], None]


@dataclass(slots=True)
class Counts:
    """What became of messages, since the start.

    `sent` were handed to the network, `dropped` were not, for want of a connection or of room,
    or as they were too long; `received` came from others, `missed` did and found no room;
    `connections` were made.
    """

    sent: int = 0
    dropped: int = 0
    received: int = 0
    missed: int = 0
    connections: int = 0


class Bus(Protocol):
    """One end of a bus. What is sent at one end is heard at all others that listen by then."""

    counts: Counts

    @property
    def connected(self) -> bool:
        """Whether what is sent now has a way to go."""
        ...

    def publish(self, subject: str, payload: bytes) -> None:
        """Send a message, if that is possible at once; it never waits and never raises.

        The messages of one end keep their order. `subject` is words of letters, digits, `-` and
        `_`, with dots between them.
        """
        ...

    def subscribe(self, subject: str, listener: Listener) -> None:
        """Call `listener`, in the event loop, with each message of just `subject` from others.

        It returns at once and does not raise, whatever the message is.
        """
        ...

    async def close(self) -> None:
        """Send what was accepted, if there is a way, and release everything. Safe to repeat."""
        ...
