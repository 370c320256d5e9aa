"""Modules in text, for tests of the box."""

_CORE = """
(module
  {imports}
  (memory (export "memory") {pages})
  (func (export "ifc_alloc") (param i32) (result i32) (i32.const 1024))
  {parts}
  (func (export "ifc_run") (param $at i32) (param $size i32) (result i64)
    (if (i32.ne (i32.load8_u (local.get $at)) (i32.const 103)) (then {attack}))
    (i64.or
      (i64.shl (i64.extend_i32_u (local.get $at)) (i64.const 32))
      (i64.extend_i32_u (local.get $size)))))
"""

# What a module of `core` gives back as it is; at anything else it does what it was made for.
GOOD = b"good"

LOG = '(import "ifc" "log" (func $log (param i32 i32)))'
CALL = '(import "ifc" "call" (func $call (param i32 i32 i32 i32) (result i64)))'


def wasi(name: str, parameters: str) -> str:
    """Return the import of a function of WASI as `$name`; `i` has 32 bits and `I` 64."""
    types = " ".join({"i": "i32", "I": "i64"}[it] for it in parameters)
    result = "" if name == "proc_exit" else "(result i32)"
    return f'(import "wasi_snapshot_preview1" "{name}" (func ${name} (param {types}) {result}))'


def core(attack: str = "", imports: str = "", parts: str = "", pages: str = "1") -> bytes:
    """Return a core module that echoes GOOD, and else runs `attack` first."""
    return _CORE.format(attack=attack, imports=imports, parts=parts, pages=pages).encode()


def write(descriptor: int, start: int, size: int) -> str:
    """Return the code that writes some bytes with `$fd_write`; it uses the first twelve bytes."""
    return f"""
    (i32.store (i32.const 0) (i32.const {start}))
    (i32.store (i32.const 4) (i32.const {size}))
    (drop (call $fd_write (i32.const {descriptor}) (i32.const 0) (i32.const 1) (i32.const 8)))
"""


def command(body: str, imports: str = "", parts: str = "") -> bytes:
    """Return a WASI command."""
    return f"""
(module
  {imports}
  (memory (export "memory") 1)
  {parts}
  (func (export "_start") {body}))
""".encode()


def nested(depth: int) -> bytes:
    """Return a module whose one function is ifs within ifs: a bomb for an optimising compiler."""
    more = "(if (local.get 0) (then (local.set 0 (i32.add (local.get 0) (i32.const 1))) "
    body = more * depth + "))" * depth
    return core(parts=f'(func (export "bomb") (param i32) (result i32) {body} (local.get 0))')
