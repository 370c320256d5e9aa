"""The frames between the service and a worker: length, kind, body.

    ┌────────────┬──────┬───────────────┐
    │ length: 4  │ kind │ body          │   the length is that of kind and body, big endian
    └────────────┴──────┴───────────────┘

Every kind has a bound, and each side takes only the kinds that the other may send. Nothing here
reads or writes: both sides share it, and it is tested as it is.
"""

import struct
from collections.abc import Mapping
from enum import IntEnum

_MIB = 1 << 20
_HEADER = struct.Struct(">IB")
HEADER_BYTES = _HEADER.size
# Documents that both sides write themselves: settings, reports, ends of tasks.
_DOCUMENT_BYTES = 64 << 10
LOG_BYTES = 4 << 10
CALL_BYTES = 1 * _MIB
# Its length is one byte.
CALL_NAME_BYTES = 255
INPUT_BYTES = 16 * _MIB
OUTPUT_BYTES = 64 * _MIB
# Half of what a call of the fabric can carry would be less; this bounds what is read at all.
MODULE_BYTES = 64 * _MIB


# Up to this size a body goes out with its header: whoever has read a frame may end at once.
_TOGETHER_BYTES = 64 << 10


class Broken(Exception):
    """What arrived is not what the other side may send."""


class Kind(IntEnum):
    """What a frame is about."""

    # From the service.
    SETTINGS = 1
    MODULE = 2
    INPUT = 3
    ANSWER = 4
    REFUSAL = 5
    # From a worker.
    READY = 16
    COMPILED = 17
    REFUSED = 18
    LOG = 19
    CALL = 20
    RESULT = 21
    END = 22


_BOUNDS = {
    Kind.SETTINGS: _DOCUMENT_BYTES,
    Kind.MODULE: MODULE_BYTES,
    Kind.INPUT: INPUT_BYTES,
    Kind.ANSWER: CALL_BYTES,
    Kind.REFUSAL: LOG_BYTES,
    Kind.READY: _DOCUMENT_BYTES,
    Kind.COMPILED: _DOCUMENT_BYTES,
    Kind.REFUSED: _DOCUMENT_BYTES,
    Kind.LOG: LOG_BYTES,
    Kind.CALL: CALL_BYTES,
    Kind.RESULT: OUTPUT_BYTES,
    Kind.END: _DOCUMENT_BYTES,
}


def header(kind: Kind, size: int) -> bytes:
    """Return what goes before a body.

    Raises:
        Broken: the body is larger than its kind may be.
    """
    if size > _BOUNDS[kind]:
        raise Broken(f"{kind.name} has {size} bytes; at most {_BOUNDS[kind]} are allowed")
    return _HEADER.pack(size + 1, kind)


def pieces(kind: Kind, body: bytes | bytearray) -> tuple[bytes | bytearray, ...]:
    """Return what is to be sent for a frame, one after the other.

    Raises:
        Broken: the body is larger than its kind may be.
    """
    head = header(kind, len(body))
    return (head + body,) if len(body) <= _TOGETHER_BYTES else (head, body)


def read_header(
    data: bytes | bytearray, expected: frozenset[Kind], most: Mapping[Kind, int] = _BOUNDS
) -> tuple[Kind, int]:
    """Return the kind of a frame and the size of its body.

    Args:
        data: the first HEADER_BYTES of a frame.
        expected: what may come now.
        most: bounds tighter than those of the kinds, in bytes.

    Raises:
        Broken: it is something else, or too large.
    """
    length, code = _HEADER.unpack(data)
    kind = next((it for it in expected if it == code), None)
    if kind is None:
        names = ", ".join(sorted(it.name for it in expected))
        raise Broken(f"a frame of kind {code} where {names} may come")
    bound = min(most.get(kind, _BOUNDS[kind]), _BOUNDS[kind])
    if not 1 <= length <= bound + 1:
        raise Broken(f"{kind.name} says it has {length - 1} bytes; at most {bound} may be")
    return kind, length - 1


def join_call(name: str, body: bytes) -> bytes:
    """Return the body of a CALL: the length of the name in one byte, the name, the request.

    Raises:
        Broken: the name is empty or longer than 255 bytes.
    """
    encoded = name.encode()
    if not 1 <= len(encoded) <= CALL_NAME_BYTES:
        raise Broken(f"the name of a call has 1 to {CALL_NAME_BYTES} bytes")
    return bytes([len(encoded)]) + encoded + body


def split_call(body: bytes) -> tuple[str, bytes]:
    """Return the name and the request of a CALL.

    Raises:
        Broken: there is no whole name in it.
    """
    end = 1 + body[0] if body else 0
    if not 1 < end <= len(body):
        raise Broken("a call without a whole name")
    try:
        return body[1:end].decode(), body[end:]
    except UnicodeDecodeError as error:
        raise Broken("the name of a call is not UTF-8") from error
