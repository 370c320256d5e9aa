import { create } from "@bufbuild/protobuf";
import { Code } from "@connectrpc/connect";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { ErrorReason, ReplyFrameSchema } from "../../src/index.js";
import { Outbox } from "../../src/session/outbox.js";
import { Requests } from "../../src/session/requests.js";
import { refusedStatus } from "../support/refusal.js";

beforeEach(() => {
  vi.useFakeTimers();
});

afterEach(() => {
  vi.useRealTimers();
});

const BODY = { case: "status", value: {} } as const;

function start() {
  const over = new AbortController();
  const outbox = new Outbox({ frames: 10, bytes: 10_000 }, () => undefined);
  outbox.connected();
  const requests = new Requests(outbox, "p", () => 0, over.signal);
  const said = () => outbox.take().map((frame) => frame.requestId);
  const answer = (requestId: string) =>
    outbox.answer(create(ReplyFrameSchema, { requestId, result: { case: "status", value: {} } }));
  const putOff = (requestId: string, retryAfterMs: number) => {
    const value = refusedStatus(ErrorReason.OUTBOX_FULL, Code.ResourceExhausted, retryAfterMs);
    outbox.answer(create(ReplyFrameSchema, { requestId, result: { case: "error", value } }));
  };
  return { over, requests, said, answer, putOff };
}

test("what was put off is said again when the fabric asked for it, not before", async () => {
  const { requests, said, answer, putOff } = start();
  const call = requests.call(BODY);
  expect(said()).toEqual(["p-1"]);
  putOff("p-1", 50);
  await vi.advanceTimersByTimeAsync(49);
  expect(said()).toEqual([]);
  await vi.advanceTimersByTimeAsync(1);
  expect(said()).toEqual(["p-1"]);
  answer("p-1");
  expect((await call).result.case).toBe("status");
});

test("a report that was put off is not said again once there is a newer one", async () => {
  const { requests, said, answer, putOff } = start();
  const older = requests.report("key", BODY);
  said();
  putOff("p-1", 50);
  expect(await older).toBeUndefined();
  const newer = requests.report("key", BODY);
  expect(said()).toEqual(["p-2"]);
  answer("p-2");
  expect((await newer)?.requestId).toBe("p-2");
  await vi.advanceTimersByTimeAsync(1_000);
  expect(said()).toEqual([]);
});

test("whoever waits to say something again learns of the end of the session", async () => {
  const { over, requests, said, putOff } = start();
  const call = requests.call(BODY);
  const ended = expect(call).rejects.toThrow("over");
  said();
  putOff("p-1", 60_000);
  await vi.advanceTimersByTimeAsync(10);
  over.abort(new Error("over"));
  await ended;
  await expect(requests.call(BODY)).rejects.toThrow("over");
});
