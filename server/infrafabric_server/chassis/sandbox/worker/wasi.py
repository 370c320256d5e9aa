"""WASI preview 1, as much of it as a guest may have: streams, a clock, random numbers, an exit.

It is not wasmtime's own. That one starts threads, opens what it is given, waits where nothing can
interrupt it, and lets a guest write without end. Here a guest has no files to open, so that every
call about one answers with "bad file descriptor".
"""

import os
from collections.abc import Callable

from wasmtime import Caller

from infrafabric_server.chassis.sandbox.worker.ends import Exit
from infrafabric_server.chassis.sandbox.worker.memory import BadPointer, Window, window
from infrafabric_server.chassis.sandbox.worker.task import Task

MODULE = "wasi_snapshot_preview1"

_SUCCESS, _BAD_DESCRIPTOR, _FAULT, _INVALID, _NOT_SUPPORTED, _NOT_SEEKABLE = 0, 8, 21, 28, 58, 70
_INPUT, _OUTPUT, _DIAGNOSTICS = 0, 1, 2
_RIGHT_TO_READ, _RIGHT_TO_WRITE = 1 << 1, 1 << 6
_WORD, _LONG = (1 << 32) - 1, (1 << 64) - 1
# As Linux bounds the parts of one read or write.
_MOST_PARTS = 1024
_MOST_SUBSCRIPTIONS = 256
_CHUNK = 64 << 10

# Parameters of every function: i is a number of 32 bits, I of 64. All but proc_exit return an
# error number. Those that no method below has answer that there is no such file.
SIGNATURES = {
    "args_get": "ii",
    "args_sizes_get": "ii",
    "environ_get": "ii",
    "environ_sizes_get": "ii",
    "clock_res_get": "ii",
    "clock_time_get": "iIi",
    "fd_advise": "iIIi",
    "fd_allocate": "iII",
    "fd_close": "i",
    "fd_datasync": "i",
    "fd_fdstat_get": "ii",
    "fd_fdstat_set_flags": "ii",
    "fd_fdstat_set_rights": "iII",
    "fd_filestat_get": "ii",
    "fd_filestat_set_size": "iI",
    "fd_filestat_set_times": "iIIi",
    "fd_pread": "iiiIi",
    "fd_prestat_get": "ii",
    "fd_prestat_dir_name": "iii",
    "fd_pwrite": "iiiIi",
    "fd_read": "iiii",
    "fd_readdir": "iiiIi",
    "fd_renumber": "ii",
    "fd_seek": "iIii",
    "fd_sync": "i",
    "fd_tell": "ii",
    "fd_write": "iiii",
    "path_create_directory": "iii",
    "path_filestat_get": "iiiii",
    "path_filestat_set_times": "iiiiIIi",
    "path_link": "iiiiiii",
    "path_open": "iiiiiIIii",
    "path_readlink": "iiiiii",
    "path_remove_directory": "iii",
    "path_rename": "iiiiii",
    "path_symlink": "iiiii",
    "path_unlink_file": "iii",
    "poll_oneoff": "iiii",
    "proc_exit": "i",
    "proc_raise": "i",
    "sched_yield": "",
    "random_get": "ii",
    "sock_accept": "iii",
    "sock_recv": "iiiiii",
    "sock_send": "iiiii",
    "sock_shutdown": "ii",
}


class Wasi:
    """The functions of WASI for one task; each method has the name that guests import.

    Args:
        task: the task under way.
    """

    def __init__(self, task: Task) -> None:
        self._task = task
        self._read = 0
        self._open = {_INPUT, _OUTPUT, _DIAGNOSTICS}

    def args_sizes_get(self, memory: Window, count: int, size: int) -> int:
        """Give one argument: the name of the program."""
        memory.put(count, 1)
        memory.put(size, len(_NAME))
        return _SUCCESS

    def args_get(self, memory: Window, pointers: int, buffer: int) -> int:
        """Give one argument: the name of the program."""
        memory.put(pointers, buffer & _WORD)
        memory.write(buffer, _NAME)
        return _SUCCESS

    def environ_sizes_get(self, memory: Window, count: int, size: int) -> int:
        """Give an empty environment."""
        memory.put(count, 0)
        memory.put(size, 0)
        return _SUCCESS

    def environ_get(self, memory: Window, pointers: int, buffer: int) -> int:
        """Give an empty environment."""
        del memory, pointers, buffer
        return _SUCCESS

    def clock_res_get(self, memory: Window, clock: int, result: int) -> int:
        """Say that clocks count in microseconds."""
        del clock
        memory.put(result, 1_000, 8)
        return _SUCCESS

    def clock_time_get(self, memory: Window, clock: int, precision: int, result: int) -> int:
        """Tell the time, the same on every clock."""
        del clock, precision
        memory.put(result, self._task.now() & _LONG, 8)
        return _SUCCESS

    def fd_close(self, memory: Window, descriptor: int) -> int:
        """Close a stream."""
        del memory
        if descriptor not in self._open:
            return _BAD_DESCRIPTOR
        self._open.discard(descriptor)
        return _SUCCESS

    def fd_fdstat_get(self, memory: Window, descriptor: int, result: int) -> int:
        """Describe a stream: of no kind, to be read or to be written."""
        if descriptor not in self._open:
            return _BAD_DESCRIPTOR
        rights = _RIGHT_TO_READ if descriptor == _INPUT else _RIGHT_TO_WRITE
        memory.write(result, bytes(8) + rights.to_bytes(8, "little") + bytes(8))
        return _SUCCESS

    def fd_fdstat_set_flags(self, memory: Window, descriptor: int, flags: int) -> int:
        """Take any flags for a stream: it never makes a guest wait."""
        del memory, flags
        return _SUCCESS if descriptor in self._open else _BAD_DESCRIPTOR

    def fd_filestat_get(self, memory: Window, descriptor: int, result: int) -> int:
        """Describe a stream as a file of no kind and no size."""
        if descriptor not in self._open:
            return _BAD_DESCRIPTOR
        memory.write(result, bytes(64))
        return _SUCCESS

    def fd_seek(
        self, memory: Window, descriptor: int, offset: int, whence: int, result: int
    ) -> int:
        """Refuse: streams have no place to go to."""
        del memory, offset, whence, result
        return _NOT_SEEKABLE if descriptor in self._open else _BAD_DESCRIPTOR

    def fd_tell(self, memory: Window, descriptor: int, result: int) -> int:
        """Refuse: streams have no place to be at."""
        del memory, result
        return _NOT_SEEKABLE if descriptor in self._open else _BAD_DESCRIPTOR

    def fd_read(self, memory: Window, descriptor: int, parts: int, count: int, result: int) -> int:
        """Read on in the request; at its end, nothing."""
        if descriptor != _INPUT or descriptor not in self._open:
            return _BAD_DESCRIPTOR
        before = self._read
        for pointer, size in _parts(memory, parts, count):
            piece = self._task.request[self._read : self._read + size]
            memory.write(pointer, piece)
            self._read += len(piece)
        memory.put(result, self._read - before)
        return _SUCCESS

    def fd_write(self, memory: Window, descriptor: int, parts: int, count: int, result: int) -> int:
        """Write to the result or to the diagnostics."""
        if descriptor not in self._open - {_INPUT}:
            return _BAD_DESCRIPTOR
        written = 0
        for pointer, size in _parts(memory, parts, count):
            # Counted before it is copied: the size is the guest's word.
            self._task.count_output(size)
            self._task.keep(memory.read(pointer, size), result=descriptor == _OUTPUT)
            written += size
        memory.put(result, written)
        return _SUCCESS

    def poll_oneoff(
        self, memory: Window, subscriptions: int, events: int, count: int, result: int
    ) -> int:
        """Wait for the first of some times; streams are always ready."""
        count &= _WORD
        if not 1 <= count <= _MOST_SUBSCRIPTIONS:
            return _INVALID
        waits: list[int] = []
        found: list[tuple[int, bytes]] = []
        for number in range(count):
            entry = memory.read(subscriptions + 48 * number, 48)
            wait = 0
            if entry[8] == 0:
                until = int.from_bytes(entry[24:32], "little")
                absolute = entry[40] & 1
                wait = max(0, until - self._task.now()) if absolute else until
            waits.append(wait)
            found.append((wait, entry[:8] + bytes(2) + entry[8:9] + bytes(21)))
        soonest = min(waits)
        self._task.sleep(soonest)
        ready = [event for wait, event in found if wait == soonest]
        memory.write(events, b"".join(ready))
        memory.put(result, len(ready))
        return _SUCCESS

    def proc_exit(self, memory: Window, code: int) -> int:
        """End the guest."""
        del memory
        raise Exit(code & _WORD)

    def proc_raise(self, memory: Window, signal: int) -> int:
        """Refuse: there are no signals."""
        del memory, signal
        return _NOT_SUPPORTED

    def sched_yield(self, memory: Window) -> int:
        """Go on: nobody else is there."""
        del memory
        return _SUCCESS

    def random_get(self, memory: Window, buffer: int, size: int) -> int:
        """Give random bytes."""
        size &= _WORD
        for at in range(0, size, _CHUNK):
            memory.write(buffer + at, os.urandom(min(_CHUNK, size - at)))
        return _SUCCESS


_NAME = b"task\0"


def function(name: str, current: Callable[[], Wasi]) -> Callable[..., int | None]:
    """Return the host function of a name, for whatever task is under way.

    Args:
        name: one of SIGNATURES.
        current: gives the functions of the task under way.
    """
    method = getattr(Wasi, name, None)
    if method is None:
        return lambda *_arguments: _BAD_DESCRIPTOR

    def run(caller: Caller, *arguments: int) -> int | None:
        try:
            return int(method(current(), window(caller), *arguments))
        except BadPointer:
            return _FAULT

    return run


def _parts(memory: Window, pointer: int, count: int) -> list[tuple[int, int]]:
    """Return pointer and size of each part of a read or write."""
    table = memory.read(pointer, 8 * min(count & _WORD, _MOST_PARTS))
    numbers = memoryview(table).cast("I")
    return list(zip(numbers[::2], numbers[1::2], strict=True))
