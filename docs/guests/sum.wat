;; Adds the digits of a task, as a WASI command: the task on standard input, the result on standard
;; output.
(module
  (import "wasi_snapshot_preview1" "fd_read"
    (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write"
    (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)

  ;; At 0: pointer and size of what is read or written. At 8: how much it was. At 1024: the task.
  (data (i32.const 64) "{\"sum\": 00}")

  (func (export "_start")
    (local $at i32) (local $digit i32) (local $sum i32)
    (i32.store (i32.const 0) (i32.const 1024))
    (i32.store (i32.const 4) (i32.const 60000))
    (drop (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))

    (block $done
      (loop $next
        (br_if $done (i32.ge_u (local.get $at) (i32.load (i32.const 8))))
        (local.set $digit
          (i32.sub (i32.load8_u offset=1024 (local.get $at)) (i32.const 48)))
        (if (i32.lt_u (local.get $digit) (i32.const 10))
          (then (local.set $sum (i32.add (local.get $sum) (local.get $digit)))))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (br $next)))

    ;; Two digits are enough for this example.
    (i32.store8 (i32.const 72)
      (i32.add (i32.const 48) (i32.div_u (local.get $sum) (i32.const 10))))
    (i32.store8 (i32.const 73)
      (i32.add (i32.const 48) (i32.rem_u (local.get $sum) (i32.const 10))))
    (i32.store (i32.const 0) (i32.const 64))
    (i32.store (i32.const 4) (i32.const 11))
    (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))
