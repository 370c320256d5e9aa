import { expect, test } from "vitest";
import {
  type AgentStatus,
  type BroadcastMessage,
  TaskLostError,
  TaskState,
  watchStatus,
} from "../../src/index.js";
import { Deferred } from "../../src/session/promises.js";
import { FaultyProxy } from "../support/faulty-proxy.js";
import {
  claimNew,
  clientsOf,
  fresh,
  open,
  openTelling,
  reaches,
  taskNow,
} from "../support/fleet.js";
import { Mailbox } from "../support/mailbox.js";
import { Server } from "../support/server.js";

const server = Server.forThisFile({ INFRAFABRIC_LEASE_SECONDS: "3" });

test("C10: cut again and again, a session keeps its tasks and does each exactly once", async () => {
  const clients = clientsOf(server.url);
  const proxy = await FaultyProxy.to(server.port);
  const capability = fresh("cap");
  const worker = await open(proxy.url, { capabilities: [capability], slots: 4 });
  const creator = await open(server.url);
  const board = Array.from({ length: 40 }, (_, n) => ({
    title: `task ${n}`,
    input: { n },
    requiredCapabilities: [capability],
  }));
  const ids = await creator.create(board);
  const seen: string[] = [];
  const finished: Promise<unknown>[] = [];
  for await (const task of worker) {
    const { n } = task.input;
    seen.push(task.taskId);
    finished.push(task.complete({ twice: Number(n) * 2 }));
    if (seen.length % 10 === 5) proxy.cut();
    if (seen.length === board.length) break;
  }
  await Promise.all(finished);
  expect([...seen].sort()).toEqual([...ids].sort());
  for (const [n, id] of ids.entries()) {
    const { state, attempt, result } = await taskNow(clients, id);
    expect({ state, attempt, result }).toEqual({
      state: TaskState.COMPLETED,
      attempt: 1n,
      result: { twice: n * 2 },
    });
  }
  expect(proxy.connections).toBeGreaterThan(4);
});

test("N9: with the server out of reach work goes on, and the last status arrives later", async () => {
  const proxy = await FaultyProxy.to(server.port);
  const { session, disconnected } = await openTelling(proxy.url);
  proxy.refuse();
  await disconnected();
  expect(await session.status("blocked", { message: "an older one" })).toBeUndefined();
  expect(await session.status("busy", { task: "on my own" })).toBeUndefined();
  const statuses = statusesOf(session.swarmId);
  await statuses.next();
  proxy.open();
  const seen: string[] = [];
  for await (const { lastTask, message } of statuses) {
    seen.push(message);
    if (lastTask === "on my own") break;
  }
  expect(seen).not.toContain("an older one");
});

/** Yields the statuses of a swarm as a watcher sees them. */
async function* statusesOf(swarmId: string, url = server.url): AsyncGenerator<AgentStatus> {
  for await (const { event } of watchStatus(clientsOf(url))) {
    if (event.case !== "snapshot" && event.case !== "changed") continue;
    if (event.value.swarmId === swarmId) yield event.value;
  }
}

/** Opens a session through a proxy, holding a task. */
async function holding() {
  const clients = clientsOf(server.url);
  const proxy = await FaultyProxy.to(server.port);
  const telling = await openTelling(proxy.url);
  const task = await claimNew(clients, telling.session);
  return { ...telling, clients, proxy, task };
}

test("a connection that falls silent is noticed inside the lease, and the tasks are kept", async () => {
  const { proxy, reconnected, task } = await holding();
  proxy.silence();
  await reconnected();
  expect(task.signal.aborted).toBe(false);
  expect((await task.complete()).attempt).toBe(1n);
});

test("C10: away for longer than the lease, the claim is lost and its work is told so", async () => {
  const { clients, proxy, task } = await holding();
  proxy.refuse();
  await reaches(clients, task.taskId, TaskState.AVAILABLE);
  expect(task.signal.aborted).toBe(false);
  const refused = expect(task.complete({ stale: true })).rejects.toThrow(TaskLostError);
  proxy.open();
  await refused;
  expect((await taskNow(clients, task.taskId)).state).toBe(TaskState.AVAILABLE);
});

test("a text that was said during a cut is heard after it, once", async () => {
  const { notify } = clientsOf(server.url);
  const proxy = await FaultyProxy.to(server.port);
  const heard = new Mailbox<BroadcastMessage>();
  const { disconnected, reconnected } = await openTelling(proxy.url, {
    onBroadcast: (said) => heard.put(said),
  });
  await notify.broadcast({ message: "before" });
  expect((await heard.take()).message).toBe("before");
  proxy.refuse();
  await disconnected();
  await notify.broadcast({ message: "during" });
  proxy.open();
  await reconnected();
  await notify.broadcast({ message: "after" });
  expect([(await heard.take()).message, (await heard.take()).message]).toEqual(["during", "after"]);
});

test("N10: a watch that is cut resumes at its cursor: every change comes once", async () => {
  const proxy = await FaultyProxy.to(server.port);
  const session = await open(server.url);
  const said = Array.from({ length: 12 }, (_, n) => `step ${n}`);
  const began = new Deferred();
  const watching = (async () => {
    const seen: string[] = [];
    let snapshots = 0;
    for await (const { event } of watchStatus(clientsOf(proxy.url))) {
      if (event.case === "snapshotEnd") {
        snapshots += 1;
        began.resolve();
      }
      if (event.case !== "changed" || event.value.swarmId !== session.swarmId) continue;
      if (event.value.lastTask !== "") seen.push(event.value.lastTask);
      if (event.value.lastTask === said.at(-1)) break;
    }
    return { seen, snapshots };
  })();
  await began.promise;
  for (const [n, task] of said.entries()) {
    if (n % 4 === 3) proxy.cut();
    await session.status("busy", { task });
  }
  expect(await watching).toEqual({ seen: said, snapshots: 1 });
});

test("killed and started again, the server finds its sessions and their tasks again", async () => {
  const { session, reconnected } = await openTelling(server.url);
  const task = await claimNew(clientsOf(server.url), session);
  const { epoch } = session;
  await server.restart();
  const done = task.complete({ through: "a restart" });
  await reconnected();
  expect(await done).toMatchObject({ state: TaskState.COMPLETED, attempt: 1n });
  expect(session.epoch).toBeGreaterThan(epoch);
});
