"""The user of a worker: nobody else's, without privileges and without a way to gain any."""

import os
import signal

from infrafabric_server.chassis.sandbox.worker.layers import native

# linux/prctl.h
_PDEATHSIG, _NO_NEW_PRIVILEGES = 1, 38
# linux/sched.h: networks, and the message queues and shared memory of System V.
_NEW_NETWORK, _NEW_IPC = 0x40000000, 0x08000000

# With the process id added (below 2**22) this is a user of no account: workers cannot so much as
# signal each other. Where a namespace knows no such user, they share "nobody".
_FIRST_USER = 0x6F00_0000
_NOBODY = 65534


def die_with(parent: int) -> None:
    """Have the kernel kill this process when the one that started it is gone."""
    native.prctl(_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        # It was gone before.
        os._exit(1)


def leave_network() -> str:
    """Leave the machine's network for an empty one.

    Returns:
        What holds, for the report.

    Raises:
        OSError: only root can.
    """
    native.unshare(_NEW_NETWORK | _NEW_IPC)
    return "a network namespace without any interface that is up"


def drop() -> str:
    """Become a user without privileges; a process that was not root stays who it is.

    Returns:
        What holds, for the report.

    Raises:
        OSError: the kernel refuses.
    """
    if os.geteuid() != 0:
        return f"user {os.geteuid()}, as the service"
    os.setgroups([])
    for user in (_FIRST_USER + os.getpid(), _NOBODY):
        try:
            os.setresgid(user, user, user)
            os.setresuid(user, user, user)
        except OSError:
            if user == _NOBODY:
                raise
        else:
            break
    return f"user {os.geteuid()}"


def no_new_privileges() -> str:
    """Let no program that this process could start gain a privilege.

    Returns:
        What holds, for the report.

    Raises:
        OSError: the kernel refuses.
    """
    native.prctl(_NO_NEW_PRIVILEGES, 1)
    return "no_new_privs"
