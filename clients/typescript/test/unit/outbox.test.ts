import { create } from "@bufbuild/protobuf";
import { expect, test, vi } from "vitest";
import { BufferFullError, type ReplyFrame, ReplyFrameSchema } from "../../src/index.js";
import { MAX_BATCH_BYTES, MAX_BATCH_FRAMES } from "../../src/session/frames.js";
import { Outbox, type Request } from "../../src/session/outbox.js";

const LIMITS = { frames: 1_000, bytes: 64 * 1024 * 1024 };

function request(id: string, more: Partial<Request> = {}): Request {
  return { id, body: { case: "claim", value: { taskId: id } }, settle: () => undefined, ...more };
}

function connected(limits = LIMITS): Outbox {
  const outbox = new Outbox(limits, () => undefined);
  outbox.connected();
  return outbox;
}

function answer(requestId: string): ReplyFrame {
  return create(ReplyFrameSchema, { requestId, result: { case: "accepted", value: {} } });
}

const idsOf = (outbox: Outbox) => outbox.take().map((frame) => frame.requestId);

test("all that waits goes in one message, in order, at most 64 frames", () => {
  const outbox = connected();
  const ids = Array.from({ length: 70 }, (_, n) => `r${n}`);
  for (const id of ids) outbox.push(request(id));
  expect(idsOf(outbox)).toEqual(ids.slice(0, MAX_BATCH_FRAMES));
  expect(idsOf(outbox)).toEqual(ids.slice(MAX_BATCH_FRAMES));
  expect(idsOf(outbox)).toEqual([]);
});

test("a message keeps to its bytes, and a frame that is bigger goes alone", () => {
  const outbox = connected();
  const claimOf = (bytes: number): Partial<Request> => ({
    body: { case: "claim", value: { taskId: "x".repeat(bytes) } },
  });
  outbox.push(request("half", claimOf(MAX_BATCH_BYTES / 2)));
  outbox.push(request("whole", claimOf(MAX_BATCH_BYTES)));
  outbox.push(request("small"));
  expect(idsOf(outbox)).toEqual(["half"]);
  expect(idsOf(outbox)).toEqual(["whole"]);
  expect(idsOf(outbox)).toEqual(["small"]);
});

test("an answer settles its request once", () => {
  const outbox = connected();
  const settle = vi.fn();
  outbox.push(request("r", { settle }));
  outbox.take();
  const reply = answer("r");
  expect(outbox.answer(reply)).toBe(true);
  expect(outbox.answer(reply)).toBe(false);
  expect(settle.mock.calls).toEqual([[reply]]);
  expect(outbox.unanswered).toBe(0);
});

test("after a cut what is unanswered comes first, in its order; what was answered does not", () => {
  const outbox = connected();
  for (const id of ["a", "b", "c"]) outbox.push(request(id));
  outbox.take();
  outbox.answer(answer("b"));
  outbox.push(request("d"));
  outbox.cut();
  outbox.connected();
  expect(idsOf(outbox)).toEqual(["a", "c", "d"]);
});

test("notes and credit belong to their stream", () => {
  const outbox = connected();
  outbox.note({ case: "heartbeat", value: {} });
  outbox.addCredit(3);
  outbox.cut();
  outbox.note({ case: "heartbeat", value: {} });
  outbox.addCredit(3);
  outbox.connected();
  expect(outbox.take()).toEqual([]);
});

test("credit is given in one frame, and no frame gives more than 1000", () => {
  const outbox = connected();
  outbox.addCredit(1_200);
  outbox.addCredit(1);
  const given = () => outbox.take().map(({ frame }) => frame);
  expect(given()).toMatchObject([{ case: "credit", value: { tasks: 1_000 } }]);
  expect(given()).toMatchObject([{ case: "credit", value: { tasks: 201 } }]);
  expect(given()).toEqual([]);
});

test("N9: without a connection only the newest of a key is kept", () => {
  const outbox = new Outbox(LIMITS, () => undefined);
  const settle = vi.fn();
  const onBuffered = vi.fn();
  outbox.push(request("old", { key: "status", settle, onBuffered }));
  outbox.push(request("other"));
  outbox.push(request("new", { key: "status" }));
  expect(onBuffered).toHaveBeenCalledOnce();
  expect(settle).toHaveBeenCalledExactlyOnceWith(expect.any(Error));
  outbox.connected();
  expect(idsOf(outbox)).toEqual(["other", "new"]);
});

test("a cut makes waiting reports known and keeps the newest of each key", () => {
  const outbox = connected();
  const onBuffered = vi.fn();
  outbox.push(request("first", { key: "status" }));
  outbox.push(request("second", { key: "status", onBuffered }));
  expect(idsOf(outbox)).toEqual(["first", "second"]);
  expect(onBuffered).not.toHaveBeenCalled();
  outbox.cut();
  expect(onBuffered).toHaveBeenCalledOnce();
  outbox.connected();
  expect(idsOf(outbox)).toEqual(["second"]);
});

test("no more than the limit waits, in frames and in bytes, sent or not", () => {
  const frames = connected({ ...LIMITS, frames: 2 });
  frames.push(request("a"));
  frames.take();
  frames.push(request("b"));
  expect(() => frames.push(request("c"))).toThrow(BufferFullError);
  frames.answer(answer("a"));
  frames.push(request("c"));
  expect(frames.unanswered).toBe(2);

  const bytes = connected({ ...LIMITS, bytes: 20 });
  bytes.push(request("a"));
  expect(() => bytes.push(request("b".repeat(20)))).toThrow(BufferFullError);
  bytes.push(request("c"));
});

test("at the end everything unanswered is settled with the error", () => {
  const outbox = connected();
  const settle = vi.fn();
  outbox.push(request("sent", { settle }));
  outbox.take();
  outbox.push(request("waiting", { settle }));
  const error = new Error("over");
  outbox.fail(error);
  expect(settle.mock.calls).toEqual([[error], [error]]);
  expect(outbox.unanswered).toBe(0);
});
