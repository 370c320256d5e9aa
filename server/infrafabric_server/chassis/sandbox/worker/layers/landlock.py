"""Landlock: no file can be opened, made or removed, no TCP, no signal to a process outside."""

import ctypes
import os

from infrafabric_server.chassis.sandbox.worker.layers import native

# The same on every processor (asm-generic/unistd.h).
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION = 1
_PATH_BENEATH = 1
_READ_FILE = 1 << 2

# linux/landlock.h: what each version of the kernel's interface can deny of files.
_FILE_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
_BIND_AND_CONNECT_TCP = 3
_TCP_SINCE = 4
_ABSTRACT_SOCKETS_AND_SIGNALS = 3
_SCOPES_SINCE = 6


class _Ruleset(ctypes.Structure):
    _fields_ = (
        ("handled_access_fs", ctypes.c_uint64),
        ("handled_access_net", ctypes.c_uint64),
        ("scoped", ctypes.c_uint64),
    )


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


def restrict(readable: int | None = None) -> str:
    """Deny this process everything that landlock can deny, for good.

    Args:
        readable: descriptor of the one file that may still be opened for reading.

    Returns:
        What holds, for the report.

    Raises:
        OSError: the kernel has no landlock, or refuses.
    """
    version = native.call(_CREATE_RULESET, None, 0, _VERSION)
    ruleset = _Ruleset(
        handled_access_fs=_FILE_RIGHTS[max(it for it in _FILE_RIGHTS if it <= version)],
        handled_access_net=_BIND_AND_CONNECT_TCP if version >= _TCP_SINCE else 0,
        scoped=_ABSTRACT_SOCKETS_AND_SIGNALS if version >= _SCOPES_SINCE else 0,
    )
    # An older kernel refuses fields that it does not know, unless they are zero.
    rules = native.call(_CREATE_RULESET, ctypes.byref(ruleset), ctypes.sizeof(ruleset), 0)
    if readable is not None:
        rule = _PathBeneath(allowed_access=_READ_FILE, parent_fd=readable)
        native.call(_ADD_RULE, rules, _PATH_BENEATH, ctypes.byref(rule), 0)
    native.call(_RESTRICT_SELF, rules, 0)
    os.close(rules)
    return f"interface {version}"
