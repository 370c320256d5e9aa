"""Modules that try to take more than they may, and how each of them ends."""

from dataclasses import dataclass

from infrafabric_server.chassis.sandbox.compiled import Refusal
from infrafabric_server.chassis.sandbox.outcome import ViolationKind
from tests.harness.wat import CALL, LOG, command, core, wasi

_FOREVER = "(loop $again (br $again))"
_WRITE = wasi("fd_write", "iiii")
# One part: 60,000 bytes from the start of the memory.
_PART = "(i32.store (i32.const 512) (i32.const 0)) (i32.store (i32.const 516) (i32.const 60000))"


@dataclass(frozen=True)
class Hostile:
    """A module, and what ends it: a violation, or its own code with words of the reason."""

    name: str
    module: bytes
    ends: ViolationKind | str


def _write(descriptor: int) -> str:
    return (
        f"{_PART} (loop $again (drop (call $fd_write (i32.const {descriptor}) (i32.const 512) "
        "(i32.const 1) (i32.const 520))) (br $again))"
    )


def _poll(count: str, nanoseconds: int) -> str:
    return (
        f"(i64.store (i32.const 536) (i64.const {nanoseconds})) "
        f"(drop (call $poll_oneoff (i32.const 512) (i32.const 2048) {count} (i32.const 600))) "
    )


HOSTILE = [
    Hostile("endless loop", core(_FOREVER), ViolationKind.EXECUTION_TIME),
    Hostile(
        "memory.grow until it is refused, then a trap",
        core(
            "(loop $more (br_if $more (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) "
            "unreachable"
        ),
        ViolationKind.MEMORY,
    ),
    Hostile(
        "memory.grow for ever",
        core("(loop $more (drop (memory.grow (i32.const 16))) (br $more))"),
        ViolationKind.EXECUTION_TIME,
    ),
    Hostile(
        "all of its memory is filled, again and again",
        core(
            "(drop (memory.grow (i32.const 200))) (loop $again (memory.fill (i32.const 0) "
            "(i32.const 7) (i32.const 13000000)) (br $again))"
        ),
        ViolationKind.EXECUTION_TIME,
    ),
    Hostile(
        "table.grow for ever",
        core(
            "(loop $more (drop (table.grow $t (ref.null func) (i32.const 10000))) (br $more))",
            parts="(table $t 1 funcref)",
        ),
        ViolationKind.EXECUTION_TIME,
    ),
    Hostile(
        "recursion without an end",
        core("(call $deeper)", parts="(func $deeper (call $deeper))"),
        ViolationKind.STACK,
    ),
    Hostile(
        "log lines without an end",
        core("(loop $again (call $log (i32.const 0) (i32.const 8)) (br $again))", imports=LOG),
        ViolationKind.API_CALLS,
    ),
    Hostile(
        "calls without an end",
        core(
            "(loop $again (drop (call $call (i32.const 0) (i32.const 4) (i32.const 0) "
            "(i32.const 8))) (br $again))",
            imports=CALL,
            parts='(data (i32.const 0) "echo")',
        ),
        ViolationKind.API_CALLS,
    ),
    Hostile(
        "a call that is not granted",
        core(
            "(drop (call $call (i32.const 0) (i32.const 4) (i32.const 0) (i32.const 8)))",
            imports=CALL,
            parts='(data (i32.const 0) "root")',
        ),
        ViolationKind.API_DENIED,
    ),
    Hostile(
        "a call that the host never answers",
        core(
            "(drop (call $call (i32.const 0) (i32.const 4) (i32.const 0) (i32.const 8)))",
            imports=CALL,
            parts='(data (i32.const 0) "hang")',
        ),
        ViolationKind.EXECUTION_TIME,
    ),
    Hostile("output without an end", core(_write(1), imports=_WRITE), ViolationKind.OUTPUT),
    Hostile("diagnostics without an end", core(_write(2), imports=_WRITE), ViolationKind.OUTPUT),
    Hostile(
        "a write that says it has four gigabytes",
        core(
            "(i32.store (i32.const 516) (i32.const -1)) (drop (call $fd_write (i32.const 1) "
            "(i32.const 512) (i32.const 1) (i32.const 520)))",
            imports=_WRITE,
        ),
        ViolationKind.OUTPUT,
    ),
    Hostile(
        "a sleep of a year",
        core(_poll("(i32.const 1)", 31_536_000_000_000_000), imports=wasi("poll_oneoff", "iiii")),
        ViolationKind.EXECUTION_TIME,
    ),
    Hostile(
        "four billion subscriptions, again and again",
        core(
            f"(loop $again {_poll('(i32.const -1)', 0)} (br $again))",
            imports=wasi("poll_oneoff", "iiii"),
        ),
        ViolationKind.EXECUTION_TIME,
    ),
    Hostile(
        "standard input is read at its end, again and again",
        core(
            f"{_PART} (loop $again (drop (call $fd_read (i32.const 0) (i32.const 512) "
            "(i32.const 1) (i32.const 520))) (br $again))",
            imports=wasi("fd_read", "iiii"),
        ),
        ViolationKind.EXECUTION_TIME,
    ),
    Hostile(
        "chance for the whole memory, again and again",
        core(
            "(loop $again (drop (call $random_get (i32.const 0) (i32.const 65536))) (br $again))",
            imports=wasi("random_get", "ii"),
        ),
        ViolationKind.EXECUTION_TIME,
    ),
    Hostile(
        "a result that is longer than it may be",
        core("(return (i64.const 0x0000000000020000))", pages="4"),
        ViolationKind.OUTPUT,
    ),
    Hostile(
        "a result outside of its memory",
        core("(return (i64.const 0x7fffffff00000010))"),
        "16 bytes at 2147483647 of a memory of 65536",
    ),
    Hostile(
        "a line outside of its memory",
        core("(call $log (i32.const 65530) (i32.const 100))", imports=LOG),
        "ifc.log: 100 bytes at 65530",
    ),
    Hostile(
        "a line of four gigabytes",
        core("(call $log (i32.const 0) (i32.const -1))", imports=LOG),
        "ifc.log: 4294967295 bytes at 0",
    ),
    Hostile("a division by zero", core("(drop (i32.div_u (i32.const 1) (i32.const 0)))"), "divide"),
    Hostile("a trap", core("unreachable"), "unreachable"),
    Hostile(
        "a call of a function that is not there",
        core("(call_indirect $t (i32.const 3))", parts="(table $t 4 funcref)"),
        "uninitialized element",
    ),
]

# The first byte of an allocation for an answer is the byte that GOOD is not, so both can be asked.
_REENTRANT = b"""
(module
  (import "ifc" "call" (func $call (param i32 i32 i32 i32) (result i64)))
  (memory (export "memory") 1)
  (global $calls (mut i32) (i32.const 0))
  (data (i32.const 0) "echo")
  (func (export "ifc_alloc") (param i32) (result i32)
    (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
    (if (i32.gt_u (global.get $calls) (i32.const 1))
      (then (drop (call $call (i32.const 0) (i32.const 4) (i32.const 0) (i32.const 4)))))
    (i32.const 1024))
  (func (export "ifc_run") (param i32 i32) (result i64)
    (call $call (i32.const 0) (i32.const 4) (i32.const 0) (i32.const 4))))
"""
_WILD_ALLOCATION = b"""
(module
  (memory (export "memory") 1)
  (func (export "ifc_alloc") (param i32) (result i32) (i32.const -16))
  (func (export "ifc_run") (param i32 i32) (result i64) (i64.const 0)))
"""

_NO_NUMBERS = b"""
(module
  (memory (export "memory") 1)
  (func (export "ifc_alloc") (param i32) (result f64) (f64.const nan))
  (func (export "ifc_run") (param i32 i32) (result i64) (i64.const 0)))
"""
_OTHER_PARAMETERS = b"""
(module
  (memory (export "memory") 1)
  (func (export "ifc_alloc") (param i32) (result i32) (i32.const 0))
  (func (export "ifc_run") (result i64) (i64.const 0)))
"""
_NO_MEMORY = b"""
(module
  (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
  (func (export "_start") (if (call $random (i32.const 0) (i32.const 8)) (then unreachable))))
"""

# These do it before a request could ask for anything else.
AT_ONCE = [
    Hostile(
        "an endless start function",
        core(parts=f"(func $start {_FOREVER}) (start $start)"),
        ViolationKind.EXECUTION_TIME,
    ),
    Hostile("more memory to begin with than it may have", core(pages="300"), ViolationKind.MEMORY),
    Hostile(
        "a table of a hundred million to begin with",
        core(parts="(table 100000000 funcref)"),
        ViolationKind.TABLE,
    ),
    Hostile(
        "data outside of its memory",
        core(parts='(data (i32.const 65534) "four")'),
        "out of bounds memory access",
    ),
    Hostile("a call from within an allocation", _REENTRANT, "ifc.call from within ifc_alloc"),
    Hostile("an allocation outside of its memory", _WILD_ALLOCATION, "of a memory of 65536"),
    Hostile("an allocation that is no number", _NO_NUMBERS, "ifc_alloc returned nan"),
    Hostile("an entry with other parameters", _OTHER_PARAMETERS, "too many parameters"),
    Hostile("no memory at all", _NO_MEMORY, "unreachable"),
]


@dataclass(frozen=True)
class Refused:
    """A module that is not compiled, and why."""

    name: str
    module: bytes
    kind: Refusal


REFUSED = [
    Refused("no module", b"\0asm nonsense", Refusal.INVALID),
    Refused("a component", b"\0asm\x0d\0\x01\0", Refusal.INVALID),
    Refused("text that is no module", b"(module (func $f", Refusal.INVALID),
    Refused("nothing", b"", Refusal.INVALID),
    Refused("an unknown import", core(imports='(import "env" "evil" (func))'), Refusal.IMPORTS),
    Refused(
        "a function of the fabric that is not there",
        core(imports='(import "ifc" "exec" (func))'),
        Refusal.IMPORTS,
    ),
    Refused(
        "a call without room for the answer",
        command("", imports=CALL),
        Refusal.EXPORTS,
    ),
    Refused("no entry", b'(module (memory (export "memory") 1))', Refusal.EXPORTS),
    Refused("fifty memories", core(parts="(memory 1) " * 50), Refusal.INVALID),
    Refused("memory of 64 bits", b"(module (memory i64 1))", Refusal.INVALID),
    Refused("threads", b"(module (memory 1 1 shared))", Refusal.INVALID),
    Refused("garbage collection", b"(module (type (struct (field i32))))", Refusal.INVALID),
    Refused("exceptions", b"(module (tag))", Refusal.INVALID),
    Refused("tail calls", b"(module (func $f (return_call $f)))", Refusal.INVALID),
]
