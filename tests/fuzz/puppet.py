"""A guest that makes whatever host calls its request says, with whatever numbers."""

import struct
from collections.abc import Mapping
from random import Random

from infrafabric_server.chassis.sandbox.worker import ifc, wasi
from tests.fuzz.chance import damaged, number

# What a step of a request does, besides the calls, which follow.
_STORE, _GROW, _ALLOCATE, _RETURN, _FIRST_CALL = range(5)
_ARGUMENTS = 9
_STEP = struct.Struct("<10Q")
_CALLS: Mapping[str, str] = {
    **wasi.SIGNATURES,
    **{name: parameters for name, (parameters, _) in ifc.SIGNATURES.items()},
}
_NAMES = tuple(_CALLS)
_TYPES = {"i": "i32", "I": "i64"}

# The memory of a puppet: 16 pages, of which the request has the second part.
_PAGES = 16
_SIZE = _PAGES << 16
_REQUEST = 1 << 19

# What `ifc_alloc` says at first, in puppets that are hostile from the start.
ALLOCATIONS = (_REQUEST, 0, -1, _SIZE - 8, _SIZE, (1 << 31) - 1, -(1 << 31))


def core(allocation: int) -> bytes:
    """Return a puppet that exports `ifc_run`."""
    return _module(
        allocation,
        '(func (export "ifc_run") (param $at i32) (param $size i32) (result i64)'
        "(call $walk (local.get $at) (local.get $size)))",
    )


def command() -> bytes:
    """Return a puppet that is a command of WASI."""
    read = (
        f"(i32.store (i32.const 0) (i32.const {_REQUEST}))"
        f"(i32.store (i32.const 4) (i32.const {_REQUEST}))"
        "(drop (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))"
    )
    walk = f"(drop (call $walk (i32.const {_REQUEST}) (i32.load (i32.const 8))))"
    return _module(_REQUEST, f'(func (export "_start") {read} {walk})')


def request(random: Random) -> bytes:
    """Return what a puppet is to do."""
    steps: list[bytes] = []
    for _ in range(random.randint(1, 20)):
        match random.randrange(8):
            case 0:
                steps.append(_step(_STORE, random.randrange(_SIZE), number(random)))
            case 1:
                steps.append(_step(_GROW, random.choice([0, 1, 16, 240, 256, _number(random)])))
            case 2:
                steps.append(_step(_ALLOCATE, _number(random)))
            case 3 | 4:
                steps += _stream(random)
            case _:
                name = random.choice(_NAMES)
                arguments = [_number(random) for _ in _CALLS[name]]
                steps.append(_call(name, *arguments))
    if random.random() < 0.5:
        steps.append(_step(_RETURN, _number(random) << 32 | _number(random) & 0xFFFF_FFFF))
    joined = b"".join(steps)
    return damaged(random, joined) if random.random() < 0.2 else joined


def _stream(random: Random) -> list[bytes]:
    """Return steps that read, write or call with parts and texts that are there, or nearly."""
    at, size = random.choice([0, 64, _SIZE - 16, _number(random)]), number(random)
    part = _step(_STORE, at, (size & 0xFFFF_FFFF) << 32 | _number(random) & 0xFFFF_FFFF)
    match random.randrange(4):
        case 0:
            return [part, _call("fd_read", 0, at, random.choice([1, 2, _number(random)]), at)]
        case 1:
            return [part, _call("fd_write", random.randint(0, 3), at, 1, at)]
        case 2:
            subscriptions = random.choice([1, 2, 256, 257, _number(random)])
            return [part, _call("poll_oneoff", at, _number(random), subscriptions, at)]
    name = _step(_STORE, at, int.from_bytes(b"echo", "little"))
    return [name, _call("call", at, random.choice([0, 4, 255, 256]), _number(random), size)]


def _number(random: Random) -> int:
    """Return a number that is likely to be a descriptor, or at an edge of the memory."""
    edges = (0, 1, 2, 3, _REQUEST, _SIZE - 8, _SIZE - 4, _SIZE - 1, _SIZE, _SIZE + 1)
    return random.choice(edges) if random.random() < 0.6 else number(random)


def _call(name: str, *arguments: int) -> bytes:
    return _step(_FIRST_CALL + _NAMES.index(name), *arguments)


def _step(what: int, *arguments: int) -> bytes:
    filled = [*arguments, *(0 for _ in range(_ARGUMENTS - len(arguments)))]
    return _STEP.pack(what, *(it & (1 << 64) - 1 for it in filled))


def _module(allocation: int, entry: str) -> bytes:
    imports, calls = [], []
    for code, (name, parameters) in enumerate(_CALLS.items(), _FIRST_CALL):
        module = ifc.MODULE if name in ifc.SIGNATURES else wasi.MODULE
        types = " ".join(_TYPES[it] for it in parameters)
        result = {"proc_exit": "", "log": "", "call": "(result i64)"}.get(name, "(result i32)")
        imports.append(f'(import "{module}" "{name}" (func ${name} (param {types}) {result}))')
        arguments = " ".join(_argument(at, kind) for at, kind in enumerate(parameters, 1))
        called = f"(call ${name} {arguments})"
        calls.append(_when(code, f"(drop {called})" if result else called))
    return f"""
(module
  {" ".join(imports)}
  (memory (export "memory") {_PAGES})
  (global $allocation (mut i32) (i32.const {allocation}))
  (func (export "ifc_alloc") (param i32) (result i32) (global.get $allocation))
  (func $walk (param $at i32) (param $size i32) (result i64) (local $end i32)
    (local.set $end (i32.add (local.get $at) (local.get $size)))
    (block $done
      (loop $more
        (br_if $done (i32.gt_u (i32.add (local.get $at) (i32.const {_STEP.size}))
          (local.get $end)))
        {_when(_STORE, f"(i64.store {_argument(1, 'i')} {_argument(2, 'I')})")}
        {_when(_GROW, f"(drop (memory.grow {_argument(1, 'i')}))")}
        {_when(_ALLOCATE, f"(global.set $allocation {_argument(1, 'i')})")}
        {_when(_RETURN, f"(return {_argument(1, 'I')})")}
        {" ".join(calls)}
        (local.set $at (i32.add (local.get $at) (i32.const {_STEP.size})))
        (br $more)))
    (i64.const 0))
  {entry})
""".encode()


def _when(code: int, then: str) -> str:
    return f"(if (i64.eq (i64.load (local.get $at)) (i64.const {code})) (then {then}))"


def _argument(at: int, kind: str) -> str:
    loaded = f"(i64.load offset={8 * at} (local.get $at))"
    return f"(i32.wrap_i64 {loaded})" if kind == "i" else loaded
