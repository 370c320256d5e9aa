@external("ifc", "log")
declare function log(text: usize, size: i32): void;

export function ifc_alloc(size: i32): usize {
  return heap.alloc(size);
}

export function ifc_run(task: usize, size: i32): u64 {
  let sum: i64 = 0;
  let value: i64 = 0;
  for (let i = 0; i < size; i++) {
    const digit = <i64>load<u8>(task + i) - 48;
    if (digit >= 0 && digit <= 9) {
      value = value * 10 + digit;
    } else {
      sum += value;
      value = 0;
    }
  }
  const result = String.UTF8.encode(`{"sum": ${sum + value}}`);
  return ((<u64>changetype<usize>(result)) << 32) | <u64>result.byteLength;
}
