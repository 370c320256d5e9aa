import { timestampNow } from "@bufbuild/protobuf/wkt";
import { expect, test } from "vitest";
import {
  type Blocker,
  type BroadcastMessage,
  ClaimRefusal,
  RevokeReason,
  TaskLostError,
  TaskState,
} from "../../src/index.js";
import { Deferred } from "../../src/session/promises.js";
import { aborted, Mailbox } from "../support/mailbox.js";
import { delivery, join, nextTask } from "../support/session-fixture.js";

test("a task is acknowledged on receipt, before anyone takes it", async () => {
  const { session, stream } = await join();
  stream.send(delivery("ASSIGNED", { taskId: "t", input: { q: 1 }, attempt: 3n }));
  expect((await stream.said("ack")).value).toMatchObject({ taskId: "t", attempt: 3n });
  expect(await nextTask(session)).toMatchObject({ taskId: "t", attempt: 3n, input: { q: 1 } });
});

test("a repeated delivery is acknowledged and gives its credit back, but is not new work", async () => {
  const { session, stream } = await join();
  stream.send(delivery("ASSIGNED", { taskId: "t" }));
  const task = await nextTask(session);
  await stream.said("ack");
  await stream.said("credit");
  stream.send(delivery("RETURNED", { taskId: "t" }));
  await stream.said("ack");
  expect((await stream.said("credit")).value.tasks).toBe(1);
  expect(session.tasks).toEqual([task]);
});

test("a slow consumer holds delivery back: credit returns only as tasks are taken", async () => {
  const { session, stream } = await join({ slots: 4, window: 2 });
  stream.send(delivery("ASSIGNED", { taskId: "a" }), delivery("ASSIGNED", { taskId: "b" }));
  await stream.said("ack");
  await stream.said("ack");
  void session.status("busy");
  await stream.said("status");
  expect(stream.rest).toEqual([]);
  await nextTask(session);
  expect((await stream.said("credit")).value.tasks).toBe(1);
  await nextTask(session);
  expect((await stream.said("credit")).value.tasks).toBe(1);
});

test("a new stream begins with the room that is left", async () => {
  const { fabric, session, stream } = await join({ slots: 2, window: 2 });
  stream.send(delivery("ASSIGNED", { taskId: "t" }));
  await stream.said("ack");
  fabric.cut();
  const again = await fabric.accept();
  const open = await again.welcome({ owned: [{ taskId: "t", attempt: 1n }] });
  expect(open.credit).toBe(1);
  await nextTask(session);
  expect((await again.said("credit")).value.tasks).toBe(1);
});

test("with maxTasks nothing more is asked for, nor claimed, after the last one", async () => {
  const heard = new Deferred();
  const { session, stream } = await join({ slots: 3, maxTasks: 2, onBroadcast: heard.resolve });
  stream.send(delivery("OFFERED", { taskId: "a" }), delivery("ASSIGNED", { taskId: "b" }));
  const claim = await stream.said("claim");
  const task = { taskId: "a", attempt: 1n };
  stream.reply(claim, { case: "claim", value: { claimed: true, task } });
  await Promise.all([nextTask(session), nextTask(session)]);
  stream.send(delivery("OFFERED", { taskId: "c" }), { case: "broadcast", value: {} });
  await heard.promise;
  // Two messages later, a claim of that offer would have been said.
  for (let n = 0; n < 2; n += 1) {
    const status = session.status("busy");
    stream.reply(await stream.said("status"), { case: "status", value: {} });
    await status;
  }
  const kinds = stream.rest.map(({ frame }) => frame.case);
  expect(kinds.filter((kind) => kind === "claim" || kind === "decline")).toEqual([]);
});

test("C11: a revoked claim stops its work at once and says why", async () => {
  const { session, stream } = await join();
  stream.send(delivery("ASSIGNED", { taskId: "t" }));
  const task = await nextTask(session);
  stream.send({
    case: "revoked",
    value: { taskId: "t", attempt: 1n, reason: RevokeReason.CANCELLED, detail: "not needed" },
  });
  await aborted(task.signal);
  expect(task.signal.reason).toBeInstanceOf(TaskLostError);
  expect(task.signal.reason).toMatchObject({ reason: RevokeReason.CANCELLED, attempt: 1n });
  await expect(task.progress(50)).rejects.toThrow("not needed");
  expect(session.tasks).toEqual([]);
});

test("the revocation of another attempt does not touch this one", async () => {
  const { session, stream } = await join();
  stream.send(
    delivery("ASSIGNED", { taskId: "t", attempt: 2n }),
    { case: "revoked", value: { taskId: "t", attempt: 1n } },
    { case: "heartbeat", value: { owned: [{ taskId: "t", attempt: 2n }] } },
  );
  expect((await nextTask(session)).signal.aborted).toBe(false);
});

test("a task that is revoked before anyone took it is not given out, and its credit returns", async () => {
  const { session, stream } = await join({ window: 1 });
  stream.send(delivery("ASSIGNED", { taskId: "gone" }), {
    case: "revoked",
    value: { taskId: "gone", attempt: 1n, reason: RevokeReason.EXPIRED },
  });
  expect((await stream.said("credit")).value.tasks).toBe(1);
  stream.send(delivery("ASSIGNED", { taskId: "next" }));
  expect((await nextTask(session)).taskId).toBe("next");
});

test("what a heartbeat's answer does not list is lost, but for what is just being ended", async () => {
  const { session, stream } = await join({ slots: 3 });
  const ids = ["kept", "lost", "ending"];
  stream.send(...ids.map((taskId) => delivery("ASSIGNED", { taskId })));
  const [kept, lost, ending] = [
    await nextTask(session),
    await nextTask(session),
    await nextTask(session),
  ];
  const done = ending.complete();
  const said = await stream.said("complete");
  stream.send({ case: "heartbeat", value: { owned: [{ taskId: "kept", attempt: 1n }] } });
  await aborted(lost.signal);
  expect([kept.signal.aborted, ending.signal.aborted]).toEqual([false, false]);
  stream.reply(said, { case: "task", value: { taskId: "ending", state: TaskState.COMPLETED } });
  expect((await done).state).toBe(TaskState.COMPLETED);
});

test("C5: an offer is claimed while a slot is free; a won one is work, the next waits its turn", async () => {
  const { session, stream } = await join({ slots: 1 });
  stream.send(
    delivery("OFFERED", { taskId: "a" }),
    delivery("OFFERED", { taskId: "low" }),
    delivery("OFFERED", { taskId: "high", priority: 9 }),
  );
  const claim = await stream.said("claim");
  expect(claim.value.taskId).toBe("a");
  const won = { taskId: "a", attempt: 1n };
  stream.reply(claim, { case: "claim", value: { claimed: true, task: won } });
  const task = await nextTask(session);
  const done = task.complete();
  const complete = await stream.said("complete");
  expect(stream.rest.filter((frame) => frame.frame.case === "claim")).toEqual([]);
  stream.reply(complete, { case: "task", value: { taskId: "a" } });
  await done;
  const next = await stream.said("claim");
  expect(next.value.taskId).toBe("high");
  stream.reply(next, { case: "claim", value: { refusal: ClaimRefusal.LOST_RACE } });
  expect((await stream.said("claim")).value.taskId).toBe("low");
});

test("an offer that met a full swarm is claimed again when a slot is free", async () => {
  const { session, stream } = await join({ slots: 2 });
  stream.send(delivery("ASSIGNED", { taskId: "t" }), delivery("OFFERED", { taskId: "offer" }));
  const task = await nextTask(session);
  const refused = await stream.said("claim");
  stream.reply(refused, { case: "claim", value: { refusal: ClaimRefusal.NO_SLOT } });
  const released = task.release("not mine");
  stream.reply(await stream.said("release"), { case: "task", value: { taskId: "t" } });
  await released;
  const again = await stream.said("claim");
  expect(again.value.taskId).toBe("offer");
  expect(again.requestId).not.toBe(refused.requestId);
});

test("onOffer decides: unwanted offers are declined", async () => {
  const { stream } = await join({ onOffer: async (task) => task.taskId === "wanted" });
  stream.send(
    delivery("OFFERED", { taskId: "unwanted" }),
    delivery("OFFERED", { taskId: "wanted" }),
  );
  expect((await stream.said("decline")).value).toMatchObject({ taskId: "unwanted", attempt: 0n });
  expect((await stream.said("claim")).value.taskId).toBe("wanted");
});

test("offers that are being decided on use up the window", async () => {
  const decisions = new Mailbox<(wanted: boolean) => void>();
  const onOffer = () => new Promise<boolean>((decide) => decisions.put(decide));
  const { session, stream } = await join({ window: 2, onOffer });
  stream.send(delivery("OFFERED", { taskId: "a" }), delivery("OFFERED", { taskId: "b" }));
  const decide = await decisions.take();
  void session.status("busy");
  await stream.said("status");
  expect(stream.rest).toEqual([]);
  decide(false);
  expect((await stream.said("credit")).value.tasks).toBe(1);
});

test("C1: a claim that is lost is an answer; one that is won comes by iteration, once", async () => {
  const { session, stream } = await join({ slots: 2 });
  const losing = session.claim("theirs");
  const refused = { refusal: ClaimRefusal.ALREADY_CLAIMED, ownerSwarmId: "s2" };
  stream.reply(await stream.said("claim"), { case: "claim", value: refused });
  expect(await losing).toMatchObject({ claimed: false, ...refused });

  const winning = session.claim("ours");
  const claim = await stream.said("claim");
  // Assigned in the same moment: the claim's answer and the assignment tell of one and the same.
  stream.send(delivery("ASSIGNED", { taskId: "ours" }));
  const task = { taskId: "ours", attempt: 1n };
  stream.reply(claim, { case: "claim", value: { claimed: true, task } });
  expect((await winning).claimed).toBe(true);
  expect((await nextTask(session)).taskId).toBe("ours");
  expect(session.tasks).toHaveLength(1);
});

test("C9: a blocked task gives up its slot until it is given back", async () => {
  const { session, stream } = await join({ slots: 1 });
  stream.send(delivery("ASSIGNED", { taskId: "t" }), delivery("OFFERED", { taskId: "filler" }));
  const task = await nextTask(session);
  const blocked = task.block("need a key", ["secrets"]);
  const said = await stream.said("blocker");
  expect(said.value).toMatchObject({ description: "need a key", needs: ["secrets"] });
  stream.reply(said, { case: "blocker", value: { blockerId: "b1" } });
  expect(await blocked).toMatchObject({ blockerId: "b1" });
  expect(task.parked).toBe(true);
  expect((await stream.said("claim")).value.taskId).toBe("filler");

  const resumed = task.unblocked();
  stream.send(delivery("RETURNED", { taskId: "t" }));
  await resumed;
  expect(task).toMatchObject({ parked: false, ending: false });
});

test("a blocker's answer and its end in one message leave the task unparked", async () => {
  const { session, stream } = await join();
  stream.send(delivery("ASSIGNED", { taskId: "t" }));
  const task = await nextTask(session);
  const blocked = task.block("need a key");
  const { requestId } = await stream.said("blocker");
  stream.send(
    { case: "reply", value: { requestId, result: { case: "blocker", value: {} } } },
    delivery("RETURNED", { taskId: "t" }),
  );
  await blocked;
  await task.unblocked();
  expect(task.parked).toBe(false);
});

test("a blocker that was resolved while the connection was cut leaves the task unparked", async () => {
  const { session, stream } = await join();
  stream.send(delivery("ASSIGNED", { taskId: "t" }));
  const task = await nextTask(session);
  const blocked = task.block("need a key");
  const said = await stream.said("blocker");
  stream.reply(said, { case: "blocker", value: { resolveTime: timestampNow() } });
  await blocked;
  await task.unblocked();
  expect(task.parked).toBe(false);
});

test("waiting for a blocker's end is over when the claim is lost", async () => {
  const { session, stream } = await join();
  stream.send(delivery("RETURNED", { taskId: "t", parked: true }));
  const waiting = (await nextTask(session)).unblocked();
  stream.send({ case: "revoked", value: { taskId: "t", attempt: 1n } });
  await expect(waiting).rejects.toThrow(TaskLostError);
});

test("C6: broadcasts and alerts reach their hooks", async () => {
  const heard: (BroadcastMessage | Blocker)[] = [];
  const { session, stream } = await join({
    role: "orchestrator",
    onBroadcast: (message) => heard.push(message),
    onAlert: (blocker) => heard.push(blocker),
  });
  stream.send(
    { case: "broadcast", value: { message: "all hands" } },
    { case: "blockerAlert", value: { blocker: { blockerId: "b1", swarmId: "s2" } } },
  );
  const status = session.status("idle");
  stream.reply(await stream.said("status"), { case: "status", value: { queuePosition: 4 } });
  expect(await status).toMatchObject({ queuePosition: 4 });
  expect(heard).toMatchObject([{ message: "all hands" }, { blockerId: "b1", swarmId: "s2" }]);
});
