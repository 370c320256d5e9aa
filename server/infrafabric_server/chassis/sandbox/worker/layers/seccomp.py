"""A filter of system calls: what a worker needs is allowed, everything else kills it.

Reading a file is refused rather than fatal, because libraries try that of their own accord: for the
time zone, or to name a line in a message.
"""

import ctypes
import errno
import os
import struct

from infrafabric_server.chassis.sandbox.worker.layers import native

_SET_MODE_FILTER = 1
_SYNC_THREADS = 1

# linux/seccomp.h
_ALLOW = 0x7FFF0000
_KILL_PROCESS = 0x80000000
_REFUSE = 0x00050000 | errno.EACCES

# linux/filter.h: load a word of the call, go on if it is equal or at least as much, return.
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_NUMBER_AT, _ARCHITECTURE_AT, _ARGUMENTS_AT, _ARGUMENT_BYTES = 0, 4, 16, 8

# linux/audit.h
_ARCHITECTURE = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
# x86_64 has a second set of calls, with this bit.
_X32 = 0x40000000

# Name: number on x86_64 (asm/unistd_64.h), on aarch64 (asm-generic/unistd.h); -1 is absent.
_NEEDED = {
    "read": (0, 63),
    "write": (1, 64),
    "close": (3, 57),
    "fstat": (5, 80),
    "lseek": (8, 62),
    "mmap": (9, 222),
    "mprotect": (10, 226),
    "munmap": (11, 215),
    "brk": (12, 214),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "pread64": (17, 67),
    "sched_yield": (24, 124),
    "mremap": (25, 216),
    "madvise": (28, 233),
    "nanosleep": (35, 101),
    "getpid": (39, 172),
    "sendto": (44, 206),
    "recvfrom": (45, 207),
    "exit": (60, 93),
    "ftruncate": (77, 46),
    "gettimeofday": (96, 169),
    "getrusage": (98, 165),
    "sigaltstack": (131, 132),
    "gettid": (186, 178),
    "time": (201, -1),
    "futex": (202, 98),
    "sched_getaffinity": (204, 123),
    "restart_syscall": (219, 128),
    "clock_gettime": (228, 113),
    "clock_getres": (229, 114),
    "clock_nanosleep": (230, 115),
    "exit_group": (231, 94),
    "getrandom": (318, 278),
    # Images of initial memory.
    "memfd_create": (319, 279),
    # New code must be visible to every core; aarch64 needs it.
    "membarrier": (324, 283),
}
_REFUSED = {
    "open": (2, -1),
    "stat": (4, -1),
    "lstat": (6, -1),
    "ioctl": (16, 29),
    "access": (21, -1),
    "uname": (63, 160),
    "getcwd": (79, 17),
    "readlink": (89, -1),
    "prctl": (157, 167),
    "openat": (257, 56),
    "newfstatat": (262, 79),
    "readlinkat": (267, 78),
    "faccessat": (269, 48),
    "statx": (332, 291),
    "faccessat2": (439, 439),
}
# What loading compiled code takes, and putting on the last of the layers.
_LOADING = {
    "openat": (257, 56),
    "newfstatat": (262, 79),
    "statx": (332, 291),
    "prctl": (157, 167),
    "seccomp": (317, 277),
    "landlock_create_ruleset": (444, 444),
    "landlock_add_rule": (445, 445),
    "landlock_restrict_self": (446, 446),
}
# Allowed with these first arguments only. abort() signals its own thread, nobody else can be
# signalled; the limit that is set anew for each task is its own, of the processor's time.
_TGKILL = (234, 131)
_PRLIMIT64 = (302, 261)
_ITSELF, _RLIMIT_CPU = 0, 0


class _Program(ctypes.Structure):
    _fields_ = (("len", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def program(machine: str, own_pid: int, *, loading: bool) -> bytes:
    """Return the filter as the kernel reads it.

    Args:
        machine: family of the processor.
        own_pid: the one process that may be signalled.
        loading: whether one more file will be read, and a stricter filter follows.

    Raises:
        OSError: nothing is known of that processor.
    """
    if machine not in _ARCHITECTURE:
        raise OSError(f"no filter of system calls is known for {machine}")
    column = list(_ARCHITECTURE).index(machine)
    allowed = {it[column] for it in _NEEDED.values()}
    refused = {it[column] for it in _REFUSED.values()}
    if loading:
        allowed |= {it[column] for it in _LOADING.values()}
        refused -= allowed
    steps = [
        _step(_LOAD, _ARCHITECTURE_AT),
        _step(_EQUAL, _ARCHITECTURE[machine], 1, 0),
        _step(_RETURN, _KILL_PROCESS),
        _step(_LOAD, _NUMBER_AT),
        _step(_AT_LEAST, _X32, 0, 1),
        _step(_RETURN, _KILL_PROCESS),
    ]
    for numbers, answer in ((allowed, _ALLOW), (refused, _REFUSE)):
        for number in sorted(numbers - {-1}):
            steps += (_step(_EQUAL, number, 0, 1), _step(_RETURN, answer))
    steps += _guarded(_TGKILL[column], own_pid)
    steps += _guarded(_PRLIMIT64[column], _ITSELF, _RLIMIT_CPU)
    steps.append(_step(_RETURN, _KILL_PROCESS))
    return b"".join(steps)


def allowed() -> str:
    """Return how many system calls a worker can make, for the report."""
    return f"{len(_NEEDED)} system calls allowed"


def _guarded(number: int, *arguments: int) -> list[bytes]:
    """Return the steps that decide on a call by its first arguments, which have 32 bits."""
    checks: list[bytes] = []
    for place, value in enumerate(arguments):
        checks += (
            _step(_LOAD, _ARGUMENTS_AT + place * _ARGUMENT_BYTES),
            _step(_EQUAL, value, 1, 0),
            _step(_RETURN, _KILL_PROCESS),
        )
    return [_step(_EQUAL, number, 0, len(checks) + 1), *checks, _step(_RETURN, _ALLOW)]


def restrict(*, loading: bool) -> str:
    """Filter the system calls of every thread of this process, for good.

    Args:
        loading: whether one more file will be read, and a stricter filter follows.

    Returns:
        What holds, for the report.

    Raises:
        OSError: the kernel refuses, or the processor is not known.
    """
    text = program(native.machine(), os.getpid(), loading=loading)
    instructions = len(text) // _STEP.size
    holder = _Program(instructions, text)
    native.call(native.seccomp_number(), _SET_MODE_FILTER, _SYNC_THREADS, ctypes.byref(holder))
    return allowed()


_STEP = struct.Struct("=HBBI")


def _step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return _STEP.pack(code, if_true, if_false, value)
