"""Where the fabric is: at one address, or at several of which any will do."""

import itertools
from collections.abc import Callable, Iterable, Iterator


def split(target: str | Iterable[str]) -> tuple[str, ...]:
    """Return the addresses that a target names.

    Args:
        target: `host:port` or any other name that gRPC resolves; several of them separated by
            commas, or as a list.

    Raises:
        ValueError: it names none.
    """
    parts = target.split(",") if isinstance(target, str) else target
    addresses = tuple(part.strip() for part in parts)
    if not all(addresses) or not addresses:
        raise ValueError(f"must name a server, or several as HOST:PORT,HOST:PORT: got {target!r}")
    return addresses


def beginning(count: int, random: Callable[[], float]) -> int:
    """Return with which of several addresses to begin, so that clients spread over them.

    Args:
        count: how many there are.
        random: returns a number in [0, 1).
    """
    return int(random() * count)


def in_turn(addresses: tuple[str, ...], random: Callable[[], float]) -> Iterator[str]:
    """Iterate over addresses without end: each in its turn, beginning at any of them.

    Args:
        addresses: at least one.
        random: returns a number in [0, 1).
    """
    first = beginning(len(addresses), random)
    return itertools.cycle(addresses[first:] + addresses[:first])
