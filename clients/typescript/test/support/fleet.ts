import { randomUUID } from "node:crypto";
import { onTestFinished } from "vitest";
import {
  type Clients,
  type ConnectionChange,
  createClients,
  Dispatch,
  type NewTask,
  Session,
  type SessionOptions,
  type Task,
  type TaskHandle,
  TaskState,
  watchTasks,
} from "../../src/index.js";
import { Mailbox } from "./mailbox.js";
import { nextTask } from "./session-fixture.js";

/** Returns an id that no other test uses. */
export function fresh(name: string): string {
  return `${name}-${randomUUID().slice(0, 8)}`;
}

/** Opens a session for the time of the test. */
export async function open(url: string, options: Partial<SessionOptions> = {}): Promise<Session> {
  const session = await Session.open({ url, swarmId: fresh("swarm"), ...options });
  onTestFinished(() => session.close("test over", 2_000));
  return session;
}

/** Opens a session that tells how its connection comes and goes. */
export async function openTelling(url: string, options: Partial<SessionOptions> = {}) {
  const changes = new Mailbox<ConnectionChange>();
  const onConnection = (change: ConnectionChange) => changes.put(change);
  const session = await open(url, { ...options, onConnection });
  const wentOrCame = (connected: boolean) => changes.take((c) => c.connected === connected);
  await wentOrCame(true);
  return {
    session,
    /** Waits until the connection is gone. */
    disconnected: () => wentOrCame(false),
    /** Waits until there is a connection again. */
    reconnected: () => wentOrCame(true),
  };
}

/** Returns clients for the time of the test. */
export function clientsOf(url: string): Clients {
  const clients = createClients({ url });
  onTestFinished(() => clients.close());
  return clients;
}

/** Creates one task and returns it. */
export async function createTask({ coordinator }: Clients, task: NewTask): Promise<Task> {
  const { task: created } = await coordinator.createTask({ task });
  if (created === undefined) throw new Error("the server created nothing");
  return created;
}

/** Creates a task by hand and claims it in a session. */
export async function claimNew(clients: Clients, session: Session): Promise<TaskHandle> {
  const { taskId } = await createTask(clients, { dispatch: Dispatch.MANUAL });
  await session.claim(taskId);
  return nextTask(session);
}

/** Returns a task as it is now. */
export async function taskNow({ coordinator }: Clients, taskId: string): Promise<Task> {
  const { task } = await coordinator.getTask({ taskId });
  if (task === undefined) throw new Error(`there is no task ${taskId}`);
  return task;
}

/** Returns the state of a task as it is now, by name. */
export async function stateNow(clients: Clients, taskId: string): Promise<string | undefined> {
  return TaskState[(await taskNow(clients, taskId)).state];
}

/** Waits until a task is in a state. */
export async function reaches(clients: Clients, taskId: string, state: TaskState): Promise<void> {
  for await (const { event } of watchTasks(clients)) {
    if (event.case !== "snapshot" && event.case !== "changed") continue;
    if (event.value.taskId === taskId && event.value.state === state) return;
  }
}
