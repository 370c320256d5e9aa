import { expect, test } from "vitest";
import { type Claim, ClaimLedger } from "../../src/session/claims.js";

function claim(taskId: string, attempt: bigint, more: Partial<Claim> = {}): Claim {
  return { taskId, attempt, parked: false, ending: false, ...more };
}

test("a claim is new once, and known as long as it is held", () => {
  const ledger = new ClaimLedger<Claim>();
  const held = claim("t", 1n);
  expect(ledger.judge(held)).toEqual({ kind: "new", replaces: undefined });
  ledger.add(held);
  expect(ledger.judge(claim("t", 1n))).toEqual({ kind: "known", claim: held });
});

test("a higher attempt replaces the lower one, a lower one is past", () => {
  const ledger = new ClaimLedger<Claim>();
  const held = claim("t", 5n);
  ledger.add(held);
  expect(ledger.judge(claim("t", 6n))).toEqual({ kind: "new", replaces: held });
  expect(ledger.judge(claim("t", 4n))).toEqual({ kind: "past" });
});

test("an attempt that the worker ended is past, the next one is new", () => {
  const ledger = new ClaimLedger<Claim>();
  const held = claim("t", 1n);
  ledger.add(held);
  ledger.end(held);
  expect(ledger.held).toEqual([]);
  expect(ledger.judge(claim("t", 1n))).toEqual({ kind: "past" });
  expect(ledger.judge(claim("t", 2n))).toEqual({ kind: "new", replaces: undefined });
});

test("an attempt that was lost is new when it comes back", () => {
  const ledger = new ClaimLedger<Claim>();
  const held = claim("t", 1n);
  ledger.add(held);
  expect(ledger.drop(held)).toBe(true);
  expect(ledger.drop(held)).toBe(false);
  expect(ledger.judge(claim("t", 1n))).toEqual({ kind: "new", replaces: undefined });
});

test("dropping a replaced claim leaves its successor", () => {
  const ledger = new ClaimLedger<Claim>();
  const older = claim("t", 1n);
  const newer = claim("t", 2n);
  ledger.add(older);
  ledger.add(newer);
  expect(ledger.drop(older)).toBe(false);
  expect(ledger.get("t")).toBe(newer);
});

test("missing is what the fabric does not list under this attempt, but for what is ending", () => {
  const ledger = new ClaimLedger<Claim>();
  const [kept, gone, bumped] = [claim("kept", 1n), claim("gone", 1n), claim("bumped", 1n)];
  for (const held of [kept, gone, bumped, claim("ending", 1n, { ending: true })]) ledger.add(held);
  const owned = [
    { taskId: "kept", attempt: 1n },
    { taskId: "bumped", attempt: 2n },
    { taskId: "unseen", attempt: 1n },
  ];
  expect(ledger.missing(owned)).toEqual([gone, bumped]);
});

test("a parked claim takes up no slot", () => {
  const ledger = new ClaimLedger<Claim>();
  ledger.add(claim("a", 1n));
  ledger.add(claim("b", 1n, { parked: true }));
  expect(ledger.busy).toBe(1);
});

test("the memory of ended claims is bounded, and the newest stay", () => {
  const ledger = new ClaimLedger<Claim>();
  for (let n = 0; n < 2_000; n += 1) ledger.end(claim(`t${n}`, 1n));
  expect(ledger.judge(claim("t1999", 1n)).kind).toBe("past");
  expect(ledger.judge(claim("t976", 1n)).kind).toBe("past");
  expect(ledger.judge(claim("t975", 1n)).kind).toBe("new");
});
