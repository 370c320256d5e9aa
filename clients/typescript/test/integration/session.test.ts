import { expect, test } from "vitest";
import {
  type Blocker,
  type BroadcastMessage,
  ClaimRefusal,
  Dispatch,
  ErrorReason,
  type HelpRequest,
  HelpState,
  RevokeReason,
  Session,
  SessionEndedError,
  TaskLostError,
  TaskState,
} from "../../src/index.js";
import {
  claimNew,
  clientsOf,
  createTask,
  fresh,
  open,
  stateNow,
  taskNow,
} from "../support/fleet.js";
import { aborted, Mailbox } from "../support/mailbox.js";
import { Server } from "../support/server.js";
import { nextTask } from "../support/session-fixture.js";

const server = Server.forThisFile();

test("C4: a created task is pushed to a session that fits, and its result is kept", async () => {
  const clients = clientsOf(server.url);
  const capability = fresh("cap");
  const worker = await open(server.url, { capabilities: [capability] });
  const creator = await open(server.url);
  const [taskId = ""] = await creator.create([
    { title: "add", input: { a: 1, b: 2 }, requiredCapabilities: [capability] },
  ]);
  const task = await nextTask(worker);
  expect(task).toMatchObject({ taskId, attempt: 1n, input: { a: 1, b: 2 } });
  expect(await task.progress(50, "half", { nextAction: "the rest" })).toMatchObject({ taskId });
  expect(await taskNow(clients, taskId)).toMatchObject({ milestonePercent: 50 });
  expect((await task.complete({ sum: 3 }, 12n)).state).toBe(TaskState.COMPLETED);
  expect(await taskNow(clients, taskId)).toMatchObject({
    ownerSwarmId: worker.swarmId,
    result: { sum: 3 },
    costMicros: 12n,
  });
});

test("C1: of many sessions that claim one task exactly one wins, and the others learn who", async () => {
  const clients = clientsOf(server.url);
  const { taskId } = await createTask(clients, { dispatch: Dispatch.MANUAL });
  const sessions = await Promise.all(Array.from({ length: 8 }, () => open(server.url)));
  const replies = await Promise.all(sessions.map((session) => session.claim(taskId)));
  const winners = sessions.filter((_, index) => replies[index]?.claimed);
  expect(winners).toHaveLength(1);
  const [winner] = winners;
  for (const reply of replies.filter(({ claimed }) => !claimed)) {
    expect([ClaimRefusal.ALREADY_CLAIMED, ClaimRefusal.LOST_RACE]).toContain(reply.refusal);
    expect(reply.ownerSwarmId).toBe(winner?.swarmId);
  }
  if (winner !== undefined) expect((await nextTask(winner)).taskId).toBe(taskId);
});

test("C5: an offer to all is claimed by all that are free, and one gets it", async () => {
  const clients = clientsOf(server.url);
  const capability = fresh("cap");
  const requiredCapabilities = [capability];
  const sessions = await Promise.all([
    open(server.url, { capabilities: [capability] }),
    open(server.url, { capabilities: [capability] }),
  ]);
  const won = Promise.race(sessions.map(nextTask));
  const task = await createTask(clients, { requiredCapabilities, dispatch: Dispatch.BROADCAST });
  expect((await won).taskId).toBe(task.taskId);
  const { ownerSwarmId } = await taskNow(clients, task.taskId);
  const holders = sessions.filter((session) => session.tasks.length > 0);
  expect(holders.map((session) => session.swarmId)).toEqual([ownerSwarmId]);
});

test("C11: a cancelled task is revoked down the stream", async () => {
  const clients = clientsOf(server.url);
  const worker = await open(server.url);
  const task = await claimNew(clients, worker);
  const { taskId } = task;
  await clients.coordinator.cancelTask({ taskId, reason: "not needed" });
  await aborted(task.signal);
  expect(task.signal.reason).toMatchObject({ reason: RevokeReason.CANCELLED });
  await expect(task.complete()).rejects.toThrow(TaskLostError);
});

test("C11: a failure for good fails the task, a retryable one makes it wait", async () => {
  const clients = clientsOf(server.url);
  const worker = await open(server.url, { slots: 2 });
  const [good, again] = [await claimNew(clients, worker), await claimNew(clients, worker)];
  expect((await good.fail("impossible", { kind: "permanent" })).state).toBe(TaskState.FAILED);
  const retryTime = new Date(Date.now() + 3_600_000);
  expect((await again.fail("busy", { retryTime })).state).toBe(TaskState.AVAILABLE);
  const { reason, availableTime } = await taskNow(clients, again.taskId);
  expect(reason).toBe("busy");
  expect(Number(availableTime?.seconds)).toBeGreaterThanOrEqual(
    Math.floor(retryTime.getTime() / 1_000),
  );
});

test("C6, C9: a blocker reaches the orchestrator, and its end gives the task back", async () => {
  const clients = clientsOf(server.url);
  const alerts = new Mailbox<Blocker>();
  await open(server.url, { role: "orchestrator", onAlert: (blocker) => alerts.put(blocker) });
  const worker = await open(server.url);
  const task = await claimNew(clients, worker);
  const { taskId } = task;

  await task.block("need the key", ["secrets"]);
  expect(task.parked).toBe(true);
  expect((await taskNow(clients, taskId)).parked).toBe(true);
  const alert = () => alerts.take((blocker) => blocker.taskId === taskId);
  expect(await alert()).toMatchObject({ description: "need the key", needs: ["secrets"] });

  const resumed = task.unblocked();
  const { swarmId } = worker;
  await clients.coordinator.resolveBlocker({ swarmId, taskId, resolution: "here it is" });
  await resumed;
  expect(await alert()).toMatchObject({ resolution: "here it is" });
  expect((await task.complete()).state).toBe(TaskState.COMPLETED);
});

test("N1, N5: a status is answered, and helpers are named", async () => {
  const capability = fresh("cap");
  const helper = await open(server.url, { capabilities: [capability] });
  await helper.status("idle");
  const asker = await open(server.url);
  const reply = await asker.status("help", { message: "stuck", needs: [capability] });
  expect(reply?.helpers).toMatchObject([{ swarmId: helper.swarmId, coverage: 1 }]);
});

test("a text for everyone reaches every session", async () => {
  const clients = clientsOf(server.url);
  const message = fresh("all hands");
  const heard = new Mailbox<BroadcastMessage>();
  await open(server.url, { onBroadcast: (said) => heard.put(said) });
  await clients.notify.broadcast({ message });
  expect(await heard.take()).toMatchObject({ message });
});

test("a newer session of the swarm fences the older one, and its claims are taken over", async () => {
  const clients = clientsOf(server.url);
  const older = await open(server.url);
  const stale = await claimNew(clients, older);
  const { taskId } = stale;
  const newer = await open(server.url, { swarmId: older.swarmId });
  await expect(older.ended).rejects.toThrow(SessionEndedError);
  await expect(older.ended).rejects.toMatchObject({
    cause: { reason: ErrorReason.SESSION_FENCED },
  });
  expect(stale.signal.aborted).toBe(true);
  expect(await nextTask(newer)).toMatchObject({ taskId, attempt: 2n });
  expect(newer.epoch).toBeGreaterThan(older.epoch);
});

test("close gives back at once what is held", async () => {
  const clients = clientsOf(server.url);
  const session = await open(server.url);
  const task = await claimNew(clients, session);
  const { taskId } = task;
  const done = task.progress(25);
  await session.close("end of shift");
  await done;
  expect(await stateNow(clients, taskId)).toBe("AVAILABLE");
});

test("work that was ended right before close is kept", async () => {
  const clients = clientsOf(server.url);
  const session = await open(server.url);
  const task = await claimNew(clients, session);
  const { taskId } = task;
  const done = task.complete({ n: 1 });
  await session.close();
  expect((await done).state).toBe(TaskState.COMPLETED);
  expect(await stateNow(clients, taskId)).toBe("COMPLETED");
});

test("G9: a blocked session sees who helps, and the help is paid out of its task", async () => {
  const clients = clientsOf(server.url);
  const [mine, theirs] = [new Mailbox<HelpRequest>(), new Mailbox<HelpRequest>()];
  const capability = fresh("cap");
  const asker = await open(server.url, { onHelpWanted: (help) => mine.put(help) });
  const helper = await open(server.url, {
    capabilities: [capability],
    onHelpWanted: (help) => theirs.put(help),
  });
  const task = await claimNew(clients, asker);
  const { taskId, attempt } = task;
  await task.block("no key", [capability]);
  const { help } = await clients.governor.requestHelp({
    swarmId: asker.swarmId,
    taskId,
    attempt,
    reason: "no key",
    needs: [capability],
    budgetMicros: 10n,
  });
  const { helpId } = await theirs.take((h) => h.askedSwarmIds.includes(helper.swarmId));
  expect(helpId).toBe(help?.helpId);
  await clients.governor.acceptHelp({ helpId, swarmId: helper.swarmId });
  await mine.take((h) => h.helperSwarmIds.includes(helper.swarmId));
  expect(await helper.cost("llm", 4, { helpId })).toMatchObject({ reservationLeftMicros: 6n });
  await clients.coordinator.resolveBlocker({ swarmId: asker.swarmId, taskId });
  await task.unblocked();
  for (const told of [mine, theirs]) await told.take((h) => h.state === HelpState.ENDED);
  const late = helper.cost("llm", 1, { helpId });
  await expect(late).rejects.toMatchObject({ reason: ErrorReason.HELP_ENDED });
  await task.complete();
  expect(await taskNow(clients, taskId)).toMatchObject({ spentMicros: 4n });
});

test("a wrong opening is refused with the field and its rule", async () => {
  const refused = Session.open({ url: server.url, swarmId: "no blanks", openTimeoutMs: 5_000 });
  await expect(refused).rejects.toMatchObject({ reason: ErrorReason.INVALID_FIELD });
  const { fields } = await refused.catch((error) => error);
  expect(fields[0].field).toContain("swarm_id");
});

test("a refused frame is answered in band, and the session goes on", async () => {
  const session = await open(server.url);
  await expect(session.create([{ title: "x".repeat(300) }])).rejects.toMatchObject({
    reason: ErrorReason.INVALID_FIELD,
  });
  await expect(session.create([{ dependencies: ["nowhere"] }])).rejects.toMatchObject({
    reason: ErrorReason.DEPENDENCY_UNKNOWN,
  });
  expect(session.connected).toBe(true);
});

test("a session takes no more than maxTasks, and leaves the rest to others", async () => {
  const clients = clientsOf(server.url);
  const capability = fresh("cap");
  const requiredCapabilities = [capability];
  const session = await open(server.url, { capabilities: [capability], slots: 4, maxTasks: 1 });
  const ids = await session.create([{ requiredCapabilities }, { requiredCapabilities }]);
  const task = await nextTask(session);
  await task.complete();
  const left = ids.find((id) => id !== task.taskId) ?? "";
  // Statuses are answered after what came before them was decided: an assignment would be there.
  await session.status("idle");
  expect(await taskNow(clients, left)).toMatchObject({ state: TaskState.AVAILABLE, attempt: 0n });
});
