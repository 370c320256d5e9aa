"""Puts the layers on, and reports which of them hold."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from infrafabric_server.chassis.sandbox.worker.layers import (
    landlock,
    privileges,
    rlimits,
    seccomp,
)


class Layer(NamedTuple):
    """One of the layers.

    Attributes:
        name: as a policy may demand it.
        held: whether it is on.
        detail: what it does here, or why it is not on.
    """

    name: str
    held: bool
    detail: str


class Amounts(NamedTuple):
    """What the process as a whole may take, in bytes."""

    data: int
    file: int


def enclose(parent: int, amounts: Amounts, readable: int | None = None) -> list[Layer]:
    """Put on every layer that this system has.

    Args:
        parent: process that started this one.
        amounts: limits of the process.
        readable: descriptor of one file that may still be opened; `seal` ends that.

    Returns:
        Each layer, in its order.
    """
    layers = [
        _try("network", privileges.leave_network),
        _try("user", privileges.drop),
        _try("no_new_privs", privileges.no_new_privileges),
    ]
    # After the change of user, which would undo it.
    privileges.die_with(parent)
    layers += (
        _try("rlimits", lambda: rlimits.restrict(amounts.data, amounts.file)),
        _try("landlock", lambda: landlock.restrict(readable)),
        _try("seccomp", lambda: seccomp.restrict(loading=readable is not None)),
    )
    return layers


def seal(layers: Sequence[Layer]) -> None:
    """Take away the one file that `enclose` has left, as far as that has put layers on.

    Raises:
        OSError: landlock or seccomp refuses, having agreed before.
    """
    held = {layer.name for layer in layers if layer.held}
    if "landlock" in held:
        landlock.restrict()
    if "seccomp" in held:
        seccomp.restrict(loading=False)


def _try(name: str, put_on: Callable[[], str]) -> Layer:
    try:
        return Layer(name, True, put_on())
    except OSError as error:
        return Layer(name, False, error.strerror or str(error))
    except ValueError as error:
        return Layer(name, False, str(error))
