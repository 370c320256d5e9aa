import { Code } from "@connectrpc/connect";
import { expect, test } from "vitest";
import {
  ClosingAction,
  ErrorReason,
  FailureKind,
  SessionEndedError,
  TaskEndedError,
  TaskLostError,
  TaskState,
} from "../../src/index.js";
import { refusedStatus } from "../support/refusal.js";
import { delivery, join, nextTask } from "../support/session-fixture.js";

const AWAY = refusedStatus(ErrorReason.STORE_UNAVAILABLE, Code.Unavailable, 1);

async function working() {
  const joined = await join();
  joined.stream.send(delivery("ASSIGNED", { taskId: "t" }));
  return { ...joined, task: await nextTask(joined.session) };
}

test("what waits at one moment goes in one message", async () => {
  const { session, stream } = await join();
  const before = stream.messages.length;
  for (const id of ["a", "b", "c"]) session.create([{ taskId: id }]).catch(() => undefined);
  for (const id of ["a", "b", "c"]) {
    expect((await stream.said("create")).value.tasks[0]?.taskId).toBe(id);
  }
  expect(stream.messages.slice(before)).toEqual([3]);
});

test("a refusal that asks for patience is repeated with the same request id", async () => {
  const { stream, task } = await working();
  const done = task.complete({ n: 1 });
  const first = await stream.said("complete");
  stream.reply(first, { case: "error", value: AWAY });
  const second = await stream.said("complete");
  expect(second).toEqual(first);
  stream.reply(second, { case: "task", value: { taskId: "t", state: TaskState.COMPLETED } });
  expect((await done).state).toBe(TaskState.COMPLETED);
});

test("a report that is asked for patience holds nobody up, and a newer one takes its place", async () => {
  const { session, stream } = await join();
  const report = session.status("busy");
  const first = await stream.said("status");
  stream.reply(first, {
    case: "error",
    value: refusedStatus(ErrorReason.OUTBOX_FULL, Code.ResourceExhausted, 30),
  });
  expect(await report).toBeUndefined();
  const newer = session.status("idle");
  const second = await stream.said("status");
  expect(second.requestId).not.toBe(first.requestId);
  stream.reply(second, { case: "status", value: {} });
  await newer;
});

test("a result that is refused for its content may be said better", async () => {
  const { stream, task } = await working();
  const refused = task.complete({ big: "…" });
  stream.reply(await stream.said("complete"), {
    case: "error",
    value: refusedStatus(ErrorReason.INVALID_FIELD, Code.InvalidArgument, undefined, [
      { field: "complete.result", description: "must have at most 256 KiB" },
    ]),
  });
  await expect(refused).rejects.toMatchObject({ fields: [{ field: "complete.result" }] });
  expect(task.signal.aborted).toBe(false);
  const failed = task.fail("result too big", { kind: "permanent", retryTime: new Date(5_000) });
  const said = await stream.said("fail");
  expect(said.value).toMatchObject({
    kind: FailureKind.PERMANENT,
    retryTime: { seconds: 5n },
  });
  stream.reply(said, { case: "task", value: { taskId: "t", state: TaskState.FAILED } });
  expect((await failed).state).toBe(TaskState.FAILED);
});

test("C10: a stale attempt is refused, and the claim is known to be gone", async () => {
  const { session, stream, task } = await working();
  const done = task.complete();
  const value = refusedStatus(ErrorReason.STALE_ATTEMPT, Code.FailedPrecondition);
  stream.reply(await stream.said("complete"), { case: "error", value });
  await expect(done).rejects.toThrow(TaskLostError);
  await expect(done).rejects.toMatchObject({ cause: { reason: ErrorReason.STALE_ATTEMPT } });
  expect(task.signal.aborted).toBe(true);
  expect(session.tasks).toEqual([]);
});

test("a task is ended once", async () => {
  const { stream, task } = await working();
  const done = task.complete();
  await expect(task.fail("changed my mind")).rejects.toThrow(TaskEndedError);
  stream.reply(await stream.said("complete"), { case: "task", value: { taskId: "t" } });
  await done;
  await expect(task.release()).rejects.toThrow(TaskEndedError);
  await expect(task.progress(100)).rejects.toThrow(TaskEndedError);
});

test("a parked task may be ended, and nobody waits for its blocker any more", async () => {
  const { session, stream } = await join();
  stream.send(delivery("RETURNED", { taskId: "t", parked: true }));
  const task = await nextTask(session);
  const waiting = task.unblocked();
  const done = task.release("somebody else may know");
  stream.reply(await stream.said("release"), { case: "task", value: { taskId: "t" } });
  await Promise.all([done, waiting]);
});

test("close says what is left, then goodbye; the iteration ends", async () => {
  const { session, stream, task } = await working();
  const done = task.complete();
  const waiting = session[Symbol.asyncIterator]().next();
  const closed = session.close("done for today");
  stream.reply(await stream.said("complete"), { case: "task", value: { taskId: "t" } });
  const goodbye = await stream.said("close");
  expect(goodbye.value.reason).toBe("done for today");
  stream.reply(goodbye, { case: "accepted", value: {} });
  await Promise.all([done, closed, session.ended]);
  expect(await waiting).toEqual({ done: true, value: undefined });
});

test.each([
  ["with the end of the stream", undefined],
  ["with STOP", ClosingAction.STOP],
])("the goodbye may be answered %s: no other stream is opened", async (_, action) => {
  const changes: boolean[] = [];
  const { session, stream } = await join({ onConnection: (c) => changes.push(c.connected) });
  const closed = session.close();
  await stream.said("close");
  if (action !== undefined) stream.send({ case: "closing", value: { action } });
  stream.end();
  await closed;
  await session.ended;
  expect(changes.filter((connected) => connected)).toHaveLength(1);
});

test("close without a connection and with nothing to say is immediate; what is held is let go", async () => {
  const { fabric, session, task } = await working();
  fabric.cut();
  await fabric.accept();
  await session.close("", 60_000);
  expect(task.signal.reason).toBeInstanceOf(SessionEndedError);
  await expect(session.claim("x")).rejects.toThrow(SessionEndedError);
});

test("close gives up in time: what had no answer fails", async () => {
  const { session, stream, task } = await working();
  const done = task.complete();
  const lost = expect(done).rejects.toThrow(SessionEndedError);
  await stream.said("complete");
  await session.close("", 20);
  await lost;
});
