"""Runs tasks in a compiled module: a fresh store and instance for each."""

from collections.abc import Callable
from typing import Any

from wasmtime import (
    Engine,
    Func,
    FuncType,
    Instance,
    Linker,
    Memory,
    Module,
    Store,
    Trap,
    TrapCode,
    ValType,
    WasmtimeError,
)

from infrafabric_server.chassis.sandbox.worker import ifc, wasi
from infrafabric_server.chassis.sandbox.worker.ends import Exit, Fault, Stop
from infrafabric_server.chassis.sandbox.worker.engine import STACK_BYTES
from infrafabric_server.chassis.sandbox.worker.ifc import ALLOCATE, Ifc
from infrafabric_server.chassis.sandbox.worker.memory import BadPointer, Window
from infrafabric_server.chassis.sandbox.worker.task import Task, Terms
from infrafabric_server.chassis.sandbox.worker.wasi import Wasi

COMMAND = "_start"
RUN = "ifc_run"
_INITIALIZE = "_initialize"

# wasmtime counts these for each table; eight bytes each.
_TABLES = 4
_TABLE_ELEMENTS = 100_000
_WORD = (1 << 32) - 1
_TRAP_CHARACTERS = 2_000


class Guest:
    """A module that is ready to run tasks, one at a time.

    Args:
        engine: of the module.
        module: what to run.
        terms: what each task may take.
    """

    def __init__(self, engine: Engine, module: Module, terms: Terms) -> None:
        self._engine = engine
        self._terms = terms
        self._wasi: Wasi | None = None
        self._ifc: Ifc | None = None
        self._linker = Linker(engine)
        self._define()
        self._ready = self._linker.instantiate_pre(module)

    def run(self, task: Task) -> dict[str, Any]:
        """Run a task to its end, whatever that is.

        Returns:
            How it ended, as the service reads it; the result is in `task.output`.
        """
        self._wasi, self._ifc = Wasi(task), Ifc(task)
        end: dict[str, Any] = {"exit_code": None, "trap": "", "memory_bytes": 0, "stop": None}
        store = Store(self._engine)
        try:
            store.set_limits(
                memory_size=self._terms.memory_bytes,
                table_elements=_TABLE_ELEMENTS,
                instances=1,
                tables=_TABLES,
                memories=1,
            )
            end |= self._within(store, task)
        finally:
            store.close()
            self._wasi = self._ifc = None
        end["output_bytes"] = task.written
        end["calls"] = task.calls
        end["diagnostics"] = task.diagnostics.decode(errors="replace")
        return end

    def _within(self, store: Store, task: Task) -> dict[str, Any]:
        instance: Instance | None = None
        end: dict[str, Any] = {}
        try:
            instance = self._ready.instantiate(store)
            end["exit_code"] = _enter(store, instance, task)
        except Exit as ended:
            end["exit_code"] = ended.code
        except Stop as stopped:
            end["stop"] = _stop(stopped)
        except (Fault, BadPointer) as error:
            end["trap"] = str(error)
        except (Trap, WasmtimeError, MemoryError) as error:
            end |= _failure(error)
        end["memory_bytes"] = _memory_bytes(store, instance)
        return end

    def _define(self) -> None:
        for name, parameters in wasi.SIGNATURES.items():
            results = "" if name == "proc_exit" else "i"
            self._add(wasi.MODULE, name, parameters, results, wasi.function(name, self._now_wasi))
        for name, (parameters, results) in ifc.SIGNATURES.items():
            self._add(ifc.MODULE, name, parameters, results, self._ifc_function(name))

    def _add(
        self, module: str, name: str, parameters: str, results: str, function: Callable[..., Any]
    ) -> None:
        types = {"i": ValType.i32, "I": ValType.i64}
        kind = FuncType([types[it]() for it in parameters], [types[it]() for it in results])
        self._linker.define_func(module, name, kind, function, access_caller=True)

    def _now_wasi(self) -> Wasi:
        if self._wasi is None:
            raise Fault("a host call without a task")
        return self._wasi

    def _ifc_function(self, name: str) -> Callable[..., Any]:
        def run(*arguments: Any) -> Any:
            return getattr(self._ifc, name)(*arguments)

        return run


def _enter(store: Store, instance: Instance, task: Task) -> int:
    exports = instance.exports(store)
    command, run = exports.get(COMMAND), exports.get(RUN)
    if isinstance(command, Func):
        command(store)
        return 0
    initialize, allocate, memory = (exports.get(it) for it in (_INITIALIZE, ALLOCATE, "memory"))
    if not (isinstance(run, Func) and isinstance(allocate, Func) and isinstance(memory, Memory)):
        raise Fault(f"the module has neither {COMMAND} nor {RUN}, {ALLOCATE} and memory")
    if isinstance(initialize, Func):
        initialize(store)
    size = len(task.request)
    pointer = allocate(store, size)
    Window(store, memory).write(_number(pointer, ALLOCATE), task.request)
    packed = _number(run(store, pointer, size), RUN)
    start, length = (packed >> 32) & _WORD, packed & _WORD
    task.count_output(length)
    # Whatever a core module wrote to its streams is for people.
    task.output[:] = Window(store, memory).read(start, length)
    return 0


def _number(value: Any, function: str) -> int:
    if not isinstance(value, int):
        raise Fault(f"{function} returned {value!r}; expected a whole number")
    return value


def _stop(stopped: Stop) -> dict[str, Any]:
    return {
        "kind": stopped.kind,
        "detail": stopped.detail,
        "limit": stopped.limit,
        "observed": stopped.observed,
    }


def _failure(error: Exception) -> dict[str, Any]:
    text = str(error)
    if isinstance(error, Trap) and error.trap_code is TrapCode.STACK_OVERFLOW:
        return {"stop": _stop(Stop("stack", "the stack is exhausted", STACK_BYTES))}
    # wasmtime's words for a module that asks for more to begin with than its store may have.
    for kind, words in (("memory", "memory limits"), ("table", "table limits")):
        if words in text:
            return {"stop": _stop(Stop(kind, text.strip().splitlines()[0]))}
    if isinstance(error, MemoryError):
        return {"stop": _stop(Stop("memory", "the worker itself has no memory left"))}
    return {"trap": text[:_TRAP_CHARACTERS] or "a trap without a reason"}


def _memory_bytes(store: Store, instance: Instance | None) -> int:
    memory = instance.exports(store).get("memory") if instance else None
    return memory.data_len(store) if isinstance(memory, Memory) else 0
