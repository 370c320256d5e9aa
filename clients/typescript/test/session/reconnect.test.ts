import { Code } from "@connectrpc/connect";
import { expect, test } from "vitest";
import {
  ClosingAction,
  type ConnectionChange,
  ErrorReason,
  FabricError,
  Session,
  SessionEndedError,
  TaskLostError,
  TaskState,
} from "../../src/index.js";
import { aborted, Mailbox } from "../support/mailbox.js";
import { refusedCall } from "../support/refusal.js";
import { delivery, join, nextTask, quick, scriptedFabric } from "../support/session-fixture.js";

const OWNED = [{ taskId: "t", attempt: 1n }];

test("a cut between two frames loses nothing: what is unanswered is said again", async () => {
  const { fabric, session, stream } = await join();
  stream.send(delivery("ASSIGNED", { taskId: "t" }));
  stream.sendCursor("c7");
  const task = await nextTask(session);
  const done = task.complete({ answer: 42 }, 7n);
  const first = await stream.said("complete");

  fabric.cut();

  const again = await fabric.accept();
  const open = await again.welcome({ resumed: true, owned: OWNED });
  expect(open).toMatchObject({ resumeToken: "t1", resumeAfter: "c7", swarmId: "s1" });
  const second = await again.said("complete");
  expect(second).toEqual(first);
  again.reply(second, { case: "task", value: { taskId: "t", state: TaskState.COMPLETED } });
  expect(await done).toMatchObject({ taskId: "t", state: TaskState.COMPLETED });
  expect(task.signal.aborted).toBe(false);
});

test("N9: down, work goes on, reports cost nothing, and the last status is sent on reconnect", async () => {
  const { fabric, session, stream } = await join();
  stream.send(delivery("ASSIGNED", { taskId: "t" }));
  const task = await nextTask(session);
  const unanswered = session.status("busy", { task: "t" });
  await stream.said("status");

  fabric.cut();

  expect(await unanswered).toBeUndefined();
  const again = await fabric.accept();
  expect(session.connected).toBe(false);
  expect(await session.status("blocked", { message: "no key" })).toBeUndefined();
  expect(await session.status("busy", { task: "t", costSpentMicros: 9 })).toBeUndefined();
  expect(await task.progress(25)).toBeUndefined();
  expect(await task.progress(50, "half")).toBeUndefined();
  expect(task.signal.aborted).toBe(false);

  await again.welcome({ owned: OWNED });
  expect((await again.said("status")).value).toMatchObject({ taskId: "t", costSpentMicros: 9n });
  expect((await again.said("progress")).value).toMatchObject({ milestonePercent: 50 });
  expect(again.rest).toEqual([]);
});

test("nothing but the opening is said before the welcome", async () => {
  const fabric = await scriptedFabric();
  const opening = Session.open(quick(fabric));
  const stream = await fabric.accept();
  await stream.said("open");
  fabric.cut();
  const again = await fabric.accept();
  await again.welcome();
  const session = await opening;
  await session.close("", 0);
  expect(stream.messages).toEqual([1]);
});

test("a hole in the sequence is a cut: the stream is resumed", async () => {
  const { fabric, session, stream } = await join();
  stream.send(delivery("ASSIGNED", { taskId: "t" }));
  stream.skipSequence();
  stream.send(delivery("ASSIGNED", { taskId: "unseen" }));
  const again = await fabric.accept();
  expect((await again.welcome({ owned: OWNED })).resumeToken).toBe("t1");
  expect(session.tasks.map((task) => task.taskId)).toEqual(["t"]);
});

test("silence for two thirds of the lease is a cut", async () => {
  const { fabric, stream } = await join({}, 300);
  await stream.said("heartbeat");
  const again = await fabric.accept();
  expect((await again.said("open")).value.resumeToken).toBe("t1");
});

test("heartbeats that are answered keep the stream", async () => {
  const { session, stream } = await join({}, 240);
  // Six heartbeats are two leases: unanswered, the second one would have been the last.
  for (let n = 0; n < 6; n += 1) {
    await stream.said("heartbeat");
    stream.send({ case: "heartbeat", value: {} });
  }
  expect(session.connected).toBe(true);
});

test("no wait between attempts is longer than a third of the lease", async () => {
  const changes = new Mailbox<ConnectionChange>();
  const onConnection = (change: ConnectionChange) => changes.put(change);
  const { fabric } = await join({ random: () => 1, onConnection }, 150);
  await fabric.stop();
  for (let n = 0; n < 3; n += 1) {
    expect(await changes.take((change) => !change.connected)).toMatchObject({ retryInMs: 50 });
  }
});

test("RESUME: the client ends its side, and shows the token on the next stream", async () => {
  const { fabric, session, stream } = await join();
  stream.send(delivery("ASSIGNED", { taskId: "t" }));
  const task = await nextTask(session);
  stream.send({ case: "closing", value: { action: ClosingAction.RESUME, reason: "drain" } });
  await stream.halfClosed;
  stream.end();
  const again = await fabric.accept();
  expect((await again.welcome({ owned: OWNED })).resumeToken).toBe("t1");
  expect(task.signal.aborted).toBe(false);
});

test("RESTART: work on what was held stops at once, and no token is shown", async () => {
  const { fabric, session, stream } = await join();
  stream.send(delivery("ASSIGNED", { taskId: "t" }));
  const task = await nextTask(session);
  stream.send({ case: "closing", value: { action: ClosingAction.RESTART } });
  stream.end();
  const again = await fabric.accept();
  expect((await again.said("open")).value.resumeToken).toBe("");
  expect(task.signal.reason).toBeInstanceOf(TaskLostError);
  await expect(task.complete()).rejects.toBe(task.signal.reason);
});

test("C10: after an expired session only what the fabric still lists is kept", async () => {
  const { fabric, session, stream } = await join({ slots: 2 });
  stream.send(delivery("ASSIGNED", { taskId: "kept" }), delivery("ASSIGNED", { taskId: "lost" }));
  const [kept, lost] = [await nextTask(session), await nextTask(session)];
  stream.end(refusedCall(ErrorReason.SESSION_EXPIRED, Code.Aborted));
  const again = await fabric.accept();
  const open = await again.welcome({ owned: [{ taskId: "kept", attempt: 1n }] });
  expect(open.resumeToken).toBe("");
  await aborted(lost.signal);
  expect(kept.signal.aborted).toBe(false);
});

test("C10: taken over without the token, the old attempt is void and the new one is work", async () => {
  const { fabric, session, stream } = await join();
  stream.send(delivery("ASSIGNED", { taskId: "t", input: { n: 1 } }));
  const old = await nextTask(session);
  fabric.cut();
  const again = await fabric.accept();
  await again.welcome({ owned: [{ taskId: "t", attempt: 2n }] });
  again.send(delivery("RETURNED", { taskId: "t", attempt: 2n, input: { n: 1 } }));
  const renewed = await nextTask(session);
  expect(renewed).toMatchObject({ attempt: 2n, input: { n: 1 } });
  expect(old.signal.reason).toMatchObject({ taskId: "t", attempt: 1n });
});

test("fenced: the session ends, whoever waits is told, and there is no other stream", async () => {
  const { session, stream } = await join();
  stream.send(delivery("ASSIGNED", { taskId: "t" }));
  const task = await nextTask(session);
  const waiting = nextTask(session);
  const unanswered = session.claim("other");
  await stream.said("claim");
  stream.send({ case: "closing", value: { action: ClosingAction.STOP, reason: "fenced" } });
  stream.end(refusedCall(ErrorReason.SESSION_FENCED, Code.Aborted));
  await expect(session.ended).rejects.toThrow(SessionEndedError);
  await expect(waiting).rejects.toMatchObject({ cause: { reason: ErrorReason.SESSION_FENCED } });
  await expect(unanswered).rejects.toThrow(SessionEndedError);
  await expect(session.create([{}])).rejects.toThrow(SessionEndedError);
  expect(task.signal.reason).toBeInstanceOf(SessionEndedError);
});

test("a refused opening is the error of open, with its reason", async () => {
  const fabric = await scriptedFabric();
  const opening = Session.open(quick(fabric));
  const refused = expect(opening).rejects.toMatchObject({ reason: ErrorReason.INVALID_FIELD });
  (await fabric.accept()).end(refusedCall(ErrorReason.INVALID_FIELD, Code.InvalidArgument));
  await refused;
});

test("open gives up in time when nobody answers, and says so", async () => {
  const fabric = await scriptedFabric();
  const { url } = fabric;
  await fabric.stop();
  const error = await Session.open({ url, swarmId: "s", openTimeoutMs: 150 }).catch((e) => e);
  expect(error).toBeInstanceOf(FabricError);
  expect(error.unreachable).toBe(true);
});

test("what may wait is bounded: more is refused, and what waits is sent", async () => {
  const { fabric, session } = await join({ maxUnanswered: 2 });
  fabric.cut();
  const again = await fabric.accept();
  const [a, b] = [session.create([{ taskId: "a" }]), session.create([{ taskId: "b" }])];
  await expect(session.create([{ taskId: "c" }])).rejects.toThrow("wait for some of them");
  await again.welcome();
  for (const id of ["a", "b"]) {
    again.reply(await again.said("create"), { case: "create", value: { taskIds: [id] } });
  }
  expect(await Promise.all([a, b])).toEqual([["a"], ["b"]]);
});
