"""The two functions that are the fabric's own: `ifc.log` and `ifc.call`."""

from wasmtime import Caller, Func

from infrafabric_server.chassis.sandbox.worker.ends import Fault
from infrafabric_server.chassis.sandbox.worker.memory import BadPointer, window
from infrafabric_server.chassis.sandbox.worker.task import Task

MODULE = "ifc"
# log(text, size); call(name, size, request, size) -> answer.
SIGNATURES = {"log": ("ii", ""), "call": ("iiii", "I")}

ALLOCATE = "ifc_alloc"
# An answer is `pointer << 32 | size`; that of a call that was not done has the highest bit too.
_NOT_DONE = 1 << 63
_HIGHEST_POINTER = 1 << 31


class Ifc:
    """The functions of the fabric for one task.

    Args:
        task: the task under way.
    """

    def __init__(self, task: Task) -> None:
        self._task = task
        self._allocating = False

    def log(self, caller: Caller, pointer: int, size: int) -> None:
        """Pass a line on.

        Raises:
            Fault: the line is not in the guest's memory.
        """
        try:
            self._task.log(window(caller).read(pointer, size))
        except BadPointer as error:
            raise Fault(f"ifc.log: {error}") from None

    def call(self, caller: Caller, name: int, name_size: int, body: int, body_size: int) -> int:
        """Ask the service, and put its answer where the guest's `ifc_alloc` says.

        Returns:
            Where the answer is, as a signed number.

        Raises:
            Fault: a pointer leads out of the guest's memory, or the guest cannot take an answer.
        """
        if self._allocating:
            raise Fault(f"ifc.call from within {ALLOCATE}")
        try:
            memory = window(caller)
            done, answer = self._task.call(
                memory.read(name, name_size), memory.read(body, body_size)
            )
            pointer = self._allocate(caller, len(answer))
            # Its memory may have moved.
            window(caller).write(pointer, answer)
        except BadPointer as error:
            raise Fault(f"ifc.call: {error}") from None
        return (pointer << 32 | len(answer)) - (0 if done else _NOT_DONE)

    def _allocate(self, caller: Caller, size: int) -> int:
        allocate = caller.get(ALLOCATE)
        if not isinstance(allocate, Func):
            raise Fault(f"a module that imports ifc.call exports {ALLOCATE}")
        self._allocating = True
        try:
            pointer = allocate(caller, size)
        finally:
            self._allocating = False
        if not isinstance(pointer, int) or not 0 <= pointer < _HIGHEST_POINTER:
            raise Fault(f"{ALLOCATE} returned {pointer!r}; expected a pointer below 2 GiB")
        return pointer
