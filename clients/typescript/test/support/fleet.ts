import { randomUUID } from "node:crypto";
import { onTestFinished } from "vitest";
import {
  type Clients,
  createClients,
  Dispatch,
  type NewTask,
  Session,
  type SessionOptions,
  type Task,
  type TaskHandle,
  TaskState,
} from "../../src/index.js";
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
