import { expect, test, vi } from "vitest";
import {
  type BroadcastMessage,
  type Session,
  TaskLostError,
  TaskState,
  watchStatus,
} from "../../src/index.js";
import { FaultyProxy } from "../support/faulty-proxy.js";
import { claimNew, clientsOf, fresh, open, taskNow } from "../support/fleet.js";
import { Server } from "../support/server.js";

const server = Server.forThisFile({ INFRAFABRIC_LEASE_SECONDS: "3" });

/** Waits until a session is connected again, after a cut that it has noticed. */
async function reconnected(session: Session, epoch: bigint): Promise<void> {
  await vi.waitFor(() => expect(session.epoch).toBeGreaterThan(epoch), { timeout: 10_000 });
}

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
  const clients = clientsOf(server.url);
  const proxy = await FaultyProxy.to(server.port);
  const session = await open(proxy.url);
  const { epoch } = session;
  proxy.refuse();
  await vi.waitFor(() => expect(session.connected).toBe(false));
  expect(await session.status("blocked", { message: "an older one" })).toBeUndefined();
  expect(await session.status("busy", { task: "on my own" })).toBeUndefined();
  proxy.open();
  await reconnected(session, epoch);
  await vi.waitFor(async () => {
    const { agents } = await clients.notify.getStatus({ pageSize: 1_000 });
    const ours = agents.find((agent) => agent.swarmId === session.swarmId);
    expect(ours).toMatchObject({ lastTask: "on my own", message: "" });
  });
});

/** Opens a session through a proxy, holding a task. */
async function holding() {
  const clients = clientsOf(server.url);
  const proxy = await FaultyProxy.to(server.port);
  const session = await open(proxy.url);
  const task = await claimNew(clients, session);
  return { clients, proxy, session, task, taskId: task.taskId, epoch: session.epoch };
}

test("a connection that falls silent is noticed inside the lease, and the tasks are kept", async () => {
  const { proxy, session, task, epoch } = await holding();
  proxy.silence();
  await reconnected(session, epoch);
  expect(task.signal.aborted).toBe(false);
  expect((await task.complete()).attempt).toBe(1n);
});

test("C10: away for longer than the lease, the claim is lost and its work is told so", async () => {
  const { clients, proxy, session, task, taskId, epoch } = await holding();
  proxy.refuse();
  const available = async () => {
    expect((await taskNow(clients, taskId)).state).toBe(TaskState.AVAILABLE);
  };
  await vi.waitFor(available, { timeout: 15_000, interval: 100 });
  expect(task.signal.aborted).toBe(false);
  const refused = expect(task.complete({ stale: true })).rejects.toThrow(TaskLostError);
  proxy.open();
  await reconnected(session, epoch);
  await refused;
  await available();
});

test("a text that was said during a cut is heard after it, once", async () => {
  const clients = clientsOf(server.url);
  const proxy = await FaultyProxy.to(server.port);
  const heard: BroadcastMessage[] = [];
  const session = await open(proxy.url, { onBroadcast: (said) => heard.push(said) });
  const { epoch } = session;
  const [before, during, after] = [fresh("before"), fresh("during"), fresh("after")];
  const texts = () => heard.map((said) => said.message);
  await clients.notify.broadcast({ message: before });
  await vi.waitFor(() => expect(texts()).toEqual([before]));
  proxy.refuse();
  await vi.waitFor(() => expect(session.connected).toBe(false));
  await clients.notify.broadcast({ message: during });
  proxy.open();
  await reconnected(session, epoch);
  await clients.notify.broadcast({ message: after });
  await vi.waitFor(() => expect(texts()).toEqual([before, during, after]));
});

test("N10: a watch that is cut resumes at its cursor: every change comes once", async () => {
  const proxy = await FaultyProxy.to(server.port);
  const session = await open(server.url);
  const stop = new AbortController();
  const seen: string[] = [];
  let snapshots = 0;
  const watching = (async () => {
    for await (const { event } of watchStatus(clientsOf(proxy.url), { signal: stop.signal })) {
      if (event.case === "snapshotEnd") snapshots += 1;
      if (event.case !== "changed" || event.value.swarmId !== session.swarmId) continue;
      if (event.value.lastTask !== "") seen.push(event.value.lastTask);
    }
  })();
  await vi.waitFor(() => expect(snapshots).toBe(1));
  const said = Array.from({ length: 12 }, (_, n) => `step ${n}`);
  for (const [n, task] of said.entries()) {
    if (n % 4 === 3) proxy.cut();
    await session.status("busy", { task });
  }
  await vi.waitFor(() => expect(seen).toEqual(said), { timeout: 10_000 });
  expect(snapshots).toBe(1);
  stop.abort();
  await watching;
});

test("killed and started again, the server finds its sessions and their tasks again", async () => {
  const clients = clientsOf(server.url);
  const session = await open(server.url);
  const task = await claimNew(clients, session);
  const { epoch } = session;
  await server.restart();
  const done = task.complete({ through: "a restart" });
  await reconnected(session, epoch);
  expect(await done).toMatchObject({ state: TaskState.COMPLETED, attempt: 1n });
});
