"""Modules that the tests load, as text, and the workers of a server as the system shows them."""

from pathlib import Path

# A command that does what the first letter of {"do": ...} says: e(cho) writes what it read, l(oop)
# never ends, x ends with exit code 3, n writes what is no JSON, o writes until it is stopped.
OBEDIENT = b"""(module
  (import "wasi_snapshot_preview1" "fd_read"
    (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write"
    (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 2)
  (data (i32.const 16) "nonsense")
  (func $say (param $from i32) (param $size i32)
    (i32.store (i32.const 0) (local.get $from))
    (i32.store (i32.const 4) (local.get $size))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))))
  (func (export "_start") (local $do i32)
    (i32.store (i32.const 0) (i32.const 64))
    (i32.store (i32.const 4) (i32.const 60000))
    (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
    (local.set $do (i32.load8_u (i32.const 71)))
    (if (i32.eq (local.get $do) (i32.const 108)) (then (loop $for_ever (br $for_ever))))
    (if (i32.eq (local.get $do) (i32.const 120)) (then (call $exit (i32.const 3))))
    (if (i32.eq (local.get $do) (i32.const 110))
      (then (call $say (i32.const 16) (i32.const 8)) (return)))
    (if (i32.eq (local.get $do) (i32.const 111))
      (then (loop $more (call $say (i32.const 64) (i32.const 60000)) (br $more))))
    (call $say (i32.const 64) (i32.load (i32.const 8)))))"""

# A core module that reports half of its way, then answers what it was given.
REPORTING = b"""(module
  (import "ifc" "call" (func $call (param i32 i32 i32 i32) (result i64)))
  (memory (export "memory") 4)
  (data (i32.const 16) "progress")
  (data (i32.const 32) "{\\"percent\\":50,\\"note\\":\\"half\\"}")
  (global $next (mut i32) (i32.const 1024))
  (func (export "ifc_alloc") (param $size i32) (result i32) (local $at i32)
    (local.set $at (global.get $next))
    (global.set $next (i32.add (global.get $next) (local.get $size)))
    (local.get $at))
  (func (export "ifc_run") (param $at i32) (param $size i32) (result i64)
    (drop (call $call (i32.const 16) (i32.const 8) (i32.const 32) (i32.const 28)))
    (i64.or (i64.shl (i64.extend_i32_u (local.get $at)) (i64.const 32))
      (i64.extend_i32_u (local.get $size)))))"""

# A core module that asks for the HTTP request that it is given, and answers what that was answered;
# what it was given, when it was refused.
ASKING = b"""(module
  (import "ifc" "call" (func $call (param i32 i32 i32 i32) (result i64)))
  (memory (export "memory") 16)
  (data (i32.const 16) "http")
  (global $next (mut i32) (i32.const 1024))
  (func (export "ifc_alloc") (param $size i32) (result i32) (local $at i32)
    (local.set $at (global.get $next))
    (global.set $next (i32.add (global.get $next) (local.get $size)))
    (local.get $at))
  (func (export "ifc_run") (param $at i32) (param $size i32) (result i64) (local $answer i64)
    (local.set $answer
      (call $call (i32.const 16) (i32.const 4) (local.get $at) (local.get $size)))
    (if (i64.lt_s (local.get $answer) (i64.const 0))
      (then (return (i64.or (i64.shl (i64.extend_i32_u (local.get $at)) (i64.const 32))
        (i64.extend_i32_u (local.get $size))))))
    (local.get $answer)))"""

# A core module that counts the attempts of its task in scratch space, up to nine, and says so; what
# it was given, when that was refused. The first attempt reports that it has counted; then it does
# what the first letter of {"do": ...} says: l(oop) never ends, x traps, m asks again and again.
COUNTING = b"""(module
  (import "ifc" "call" (func $call (param i32 i32 i32 i32) (result i64)))
  (memory (export "memory") 4)
  (data (i32.const 16) "kv")
  (data (i32.const 20) "progress")
  (data (i32.const 32) "{\\"operation\\":\\"get\\",\\"key\\":\\"n\\"}")
  (data (i32.const 64) "{\\"operation\\":\\"put\\",\\"key\\":\\"n\\",\\"value\\":\\"1\\"}")
  (data (i32.const 112) "{\\"percent\\":50,\\"note\\":\\"kept\\"}")
  (data (i32.const 144) "{\\"attempts\\":\\"1\\"}")
  (global $next (mut i32) (i32.const 1024))
  (func (export "ifc_alloc") (param $size i32) (result i32) (local $at i32)
    (local.set $at (global.get $next))
    (global.set $next (i32.add (global.get $next) (local.get $size)))
    (local.get $at))
  (func $get (result i64)
    (call $call (i32.const 16) (i32.const 2) (i32.const 32) (i32.const 29)))
  (func (export "ifc_run") (param $at i32) (param $size i32) (result i64)
    (local $answer i64) (local $do i32)
    (local.set $do (i32.load8_u (i32.add (local.get $at) (i32.const 7))))
    (local.set $answer (call $get))
    (if (i64.lt_s (local.get $answer) (i64.const 0))
      (then (return (i64.or (i64.shl (i64.extend_i32_u (local.get $at)) (i64.const 32))
        (i64.extend_i32_u (local.get $size))))))
    (if (i32.eq (i32.wrap_i64 (local.get $answer)) (i32.const 2))
      (then
        (drop (call $call (i32.const 16) (i32.const 2) (i32.const 64) (i32.const 41)))
        (drop (call $call (i32.const 20) (i32.const 8) (i32.const 112) (i32.const 28)))
        (if (i32.eq (local.get $do) (i32.const 108)) (then (loop $for_ever (br $for_ever))))
        (if (i32.eq (local.get $do) (i32.const 109))
          (then (loop $more
            (global.set $next (i32.const 4096))
            (drop (call $get))
            (br $more))))
        (if (i32.eq (local.get $do) (i32.const 120)) (then (unreachable))))
      (else
        (i32.store8 (i32.const 102) (i32.add (i32.const 1) (i32.load8_u (i32.add (i32.const 10)
          (i32.wrap_i64 (i64.shr_u (local.get $answer) (i64.const 32)))))))
        (i32.store8 (i32.const 157) (i32.load8_u (i32.const 102)))
        (drop (call $call (i32.const 16) (i32.const 2) (i32.const 64) (i32.const 41)))))
    (i64.or (i64.shl (i64.const 144) (i64.const 32)) (i64.const 16))))"""


def workers(server: int) -> set[int]:
    """Return the processes that run or compile foreign code for a server, by its process id."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes()
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if b"sandbox.worker" in command and parent == server:
            found.add(int(folder.name))
    return found
