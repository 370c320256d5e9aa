"""The linear memory of a guest, as a host function sees it: every access is checked."""

import ctypes

from wasmtime import Caller, Memory, Store

_WORD = (1 << 32) - 1


class BadPointer(Exception):
    """A guest named memory that it does not have."""


def window(caller: Caller) -> "Window":
    """Return the memory that the guest in a host call exports as `memory`.

    Raises:
        BadPointer: it exports none.
    """
    memory = caller.get("memory")
    if not isinstance(memory, Memory):
        raise BadPointer("the module exports no memory")
    return Window(caller, memory)


class Window:
    """Reads and writes the memory of a guest.

    It is for one host call: a memory that grows may move.

    Args:
        store: where the guest is.
        memory: its memory.
    """

    def __init__(self, store: Store | Caller, memory: Memory) -> None:
        self._size = memory.data_len(store)
        self._start = ctypes.addressof(memory.data_ptr(store).contents) if self._size else 0

    def read(self, pointer: int, size: int) -> bytes:
        """Return a copy of some bytes.

        Raises:
            BadPointer: they are not all within the memory.
        """
        return ctypes.string_at(self._address(pointer, size), size & _WORD)

    def write(self, pointer: int, data: bytes | bytearray | memoryview) -> None:
        """Write some bytes.

        Raises:
            BadPointer: there is not room for all of them.
        """
        ctypes.memmove(self._address(pointer, len(data)), bytes(data), len(data))

    def word(self, pointer: int) -> int:
        """Return an unsigned number of 32 bits."""
        return int.from_bytes(self.read(pointer, 4), "little")

    def put(self, pointer: int, value: int, size: int = 4) -> None:
        """Write an unsigned number of `size` bytes."""
        self.write(pointer, value.to_bytes(size, "little"))

    def _address(self, pointer: int, size: int) -> int:
        # Numbers of a guest come with a sign.
        first, count = pointer & _WORD, size & _WORD
        if first + count > self._size:
            raise BadPointer(f"{count} bytes at {first} of a memory of {self._size}")
        return self._start + first
