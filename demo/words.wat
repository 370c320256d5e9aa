;; Counts the words of {"text": ...}, as a task in the box: a command of WASI preview 1, which reads
;; its input on standard input and writes its result, {"words":N}, on standard output.
(module
  (import "wasi_snapshot_preview1" "fd_read"
    (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write"
    (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 5)
  ;; 0: pointer and length of a piece. 8: bytes that were moved. 16: the result. 1024: the input.
  (data (i32.const 16) "{\"words\":")

  (func (export "_start")
    (local $at i32) (local $end i32) (local $words i32) (local $in_word i32) (local $byte i32)
    (local.set $end (call $read))
    (local.set $at (i32.const 1024))
    (loop $next
      (if (i32.lt_u (local.get $at) (local.get $end))
        (then
          (local.set $byte (i32.load8_u (local.get $at)))
          ;; The input comes without spaces but those of its texts.
          (if (i32.eq (local.get $byte) (i32.const 32))
            (then (local.set $in_word (i32.const 0)))
            (else
              (local.set $words
                (i32.add (local.get $words) (i32.eqz (local.get $in_word))))
              (local.set $in_word (i32.const 1))))
          (local.set $at (i32.add (local.get $at) (i32.const 1)))
          (br $next))))
    (call $answer (local.get $words)))

  ;; Reads all input, and returns where it ends.
  (func $read (result i32) (local $end i32)
    (local.set $end (i32.const 1024))
    (loop $more
      (i32.store (i32.const 0) (local.get $end))
      (i32.store (i32.const 4) (i32.const 65536))
      (drop (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
      (local.set $end (i32.add (local.get $end) (i32.load (i32.const 8))))
      ;; An input is at most 256 KiB, so that it fits.
      (br_if $more (i32.load (i32.const 8))))
    (local.get $end))

  ;; Writes the result: its digits from the last one on, in front of the brace.
  (func $answer (param $number i32) (local $at i32)
    (local.set $at (i32.const 64))
    (i32.store8 (local.get $at) (i32.const 125))
    (loop $digit
      (local.set $at (i32.sub (local.get $at) (i32.const 1)))
      (i32.store8 (local.get $at)
        (i32.add (i32.const 48) (i32.rem_u (local.get $number) (i32.const 10))))
      (local.set $number (i32.div_u (local.get $number) (i32.const 10)))
      (br_if $digit (local.get $number)))
    (call $write (i32.const 16) (i32.const 9))
    (call $write (local.get $at) (i32.sub (i32.const 65) (local.get $at))))

  (func $write (param $from i32) (param $size i32)
    (i32.store (i32.const 0) (local.get $from))
    (i32.store (i32.const 4) (local.get $size))
    (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))
