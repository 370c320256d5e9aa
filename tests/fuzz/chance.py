"""What is drawn: numbers at the edges, documents with one wrong field, damaged bytes."""

import json
from collections.abc import Mapping
from random import Random
from typing import Any

# Where lengths, pointers and signs turn.
_EDGES = (0, 1, 2, 3, 4, 7, 8, 255, 256, 4095, 4096, 65535, 65536, 1 << 20)
_POWERS = (31, 32, 33, 53, 62, 63, 64)
_WORD = "x"


def number(random: Random) -> int:
    """Return a number that is likely to be at an edge, of either sign."""
    match random.randrange(4):
        case 0:
            return random.choice(_EDGES) + random.randint(-2, 2)
        case 1:
            return (1 << random.choice(_POWERS)) + random.randint(-2, 2)
        case 2:
            return -random.choice(_EDGES)
        case _:
            return random.getrandbits(random.randint(1, 64))


def value(random: Random, depth: int = 0) -> Any:
    """Return something that JSON can say; not all of it is what JSON may say."""
    if depth > 2 or random.random() < 0.7:
        return _plain(random)
    match random.randrange(3):
        case 0:
            return [value(random, depth + 1) for _ in range(random.randint(0, 4))]
        case 1:
            return {str(_plain(random)): value(random, depth + 1) for _ in range(3)}
    nested: list[Any] = []
    for _ in range(random.choice([10, 900])):
        nested = [nested]
    return nested


def _plain(random: Random) -> Any:
    choices = (
        (None, True, False),
        (number(random),),
        (1e300, -0.0, float("inf"), float("nan"), 0.5),
        [_WORD * size for size in (0, 1, 255, 256, 4096, 8192, 8193, 20_000)],
        # Half a pair of surrogates, a line that ends the document, what UTF-8 makes longer.
        ("\ud800", "\udfff\n", "\0", "\U0001f600" * 3_000),
        ("memory", "escape", "stack", "exit", "progress", "http"),
    )
    return random.choice(random.choice(choices))


def document(random: Random, like: Mapping[str, Any]) -> bytes:
    """Return a JSON object like another, in which some fields are wrong, missing or too many."""
    changed = dict(like)
    for _ in range(random.randint(0, 2)):
        key = random.choice([*changed, "more"])
        if random.random() < 0.3:
            changed.pop(key, None)
        else:
            changed[key] = value(random)
    return json.dumps(changed).encode()


def damaged(random: Random, data: bytes) -> bytes:
    """Return bytes of which some are others, or are missing at the end or in the middle."""
    changed = bytearray(data)
    for _ in range(random.choice([0, 0, 1, 1, 2, 8])):
        if not changed:
            break
        at = random.randrange(len(changed))
        match random.randrange(4):
            case 0:
                changed[at] ^= 1 << random.randrange(8)
            case 1:
                del changed[at:]
            case 2:
                del changed[at : at + random.randint(1, 8)]
            case _:
                changed[at:at] = random.randbytes(random.randint(1, 8))
    return bytes(changed)
