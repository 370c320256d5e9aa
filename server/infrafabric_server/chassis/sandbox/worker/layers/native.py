"""Calls of the kernel that Python has no function for."""

import ctypes
import os
import platform

# What differs between processors: the number of an architecture in a seccomp filter
# (linux/audit.h), and the one call here that has no number in common (asm/unistd.h).
_SECCOMP_NUMBER = {"x86_64": 317, "aarch64": 277}


def machine() -> str:
    """Return the processor's family as the kernel names it."""
    return platform.machine()


def prctl(option: int, argument: int) -> None:
    """Set an attribute of this process.

    Raises:
        OSError: the kernel refuses.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, ctypes.c_ulong(argument), *(ctypes.c_ulong(0),) * 3) != 0:
        raise _failure("prctl")


def call(number: int, *arguments: object) -> int:
    """Make a system call by its number; whole numbers are passed with the width of a register.

    Raises:
        OSError: the kernel refuses.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    wide = [ctypes.c_long(it) if isinstance(it, int) else it for it in arguments]
    result = int(libc.syscall(ctypes.c_long(number), *wide))
    if result < 0:
        raise _failure(f"system call {number}")
    return result


def unshare(flags: int) -> None:
    """Leave namespaces that other processes are in.

    Raises:
        OSError: the kernel refuses.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(ctypes.c_int(flags)) != 0:
        raise _failure("unshare")


def seccomp_number() -> int:
    """Return the number of the call `seccomp` here.

    Raises:
        OSError: not known for this processor.
    """
    number = _SECCOMP_NUMBER.get(machine())
    if number is None:
        raise OSError(f"no numbers of system calls are known for {machine()}")
    return number


def _failure(what: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"{what}: {os.strerror(number)}")
