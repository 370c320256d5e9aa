"""The worker's end of the socket: blocking, one frame at a time."""

import json
import socket
from collections.abc import Mapping
from typing import Any

from infrafabric_server.chassis.sandbox.frames import HEADER_BYTES, Kind, pieces, read_header


class Gone(Exception):
    """The service has closed its end."""


class Wire:
    """Reads and writes frames on an inherited socket.

    Args:
        descriptor: that of the socket.
    """

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)

    def read(self, *expected: Kind) -> tuple[Kind, bytearray]:
        """Wait for a frame.

        Raises:
            Gone: the service has closed its end.
            Broken: something else came.
        """
        kind, size = read_header(self._exactly(HEADER_BYTES), frozenset(expected))
        return kind, self._exactly(size)

    def read_document(self, kind: Kind) -> dict[str, Any]:
        """Wait for a frame with a JSON object; what the service says is taken as it is.

        Raises:
            Gone, Broken: as for `read`.
        """
        document: dict[str, Any] = json.loads(self.read(kind)[1])
        return document

    def write(self, kind: Kind, body: bytes | bytearray) -> None:
        """Send a frame.

        Raises:
            Broken: the body is too large.
            OSError: the service has closed its end.
        """
        for piece in pieces(kind, body):
            self._socket.sendall(piece)

    def write_document(self, kind: Kind, document: Mapping[str, Any]) -> None:
        """Send a frame with a JSON object."""
        self.write(kind, json.dumps(document).encode())

    def close(self) -> None:
        """Close this end.

        One that is forgotten instead warns with its address, and asking for that kills a worker.
        """
        self._socket.close()

    def _exactly(self, size: int) -> bytearray:
        data = bytearray(size)
        view = memoryview(data)
        have = 0
        while have < size:
            count = self._socket.recv_into(view[have:])
            if count == 0:
                raise Gone
            have += count
        return data
