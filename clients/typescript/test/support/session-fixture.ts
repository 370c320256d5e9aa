import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { onTestFinished } from "vitest";
import {
  Session,
  type SessionOptions,
  TaskDelivery,
  type TaskHandle,
  TaskSchema,
} from "../../src/index.js";
import { ScriptedFabric, type ScriptedStream } from "./scripted-fabric.js";

export interface Joined {
  readonly fabric: ScriptedFabric;
  readonly session: Session;
  readonly stream: ScriptedStream;
}

/** Starts a fabric that the test plays, for the time of the test. */
export async function scriptedFabric(): Promise<ScriptedFabric> {
  const fabric = await ScriptedFabric.start();
  onTestFinished(() => fabric.stop());
  return fabric;
}

/** Options that do not wait longer than a test should: no jitter, so that backoff is at its least. */
export function quick(
  fabric: ScriptedFabric,
  options: Partial<SessionOptions> = {},
): SessionOptions {
  return { url: fabric.url, swarmId: "s1", capabilities: ["a"], random: () => 0, ...options };
}

/** Opens a session with a scripted fabric, and closes it at the end of the test. */
export async function join(
  options: Partial<SessionOptions> = {},
  leaseMs?: number,
): Promise<Joined> {
  const fabric = await scriptedFabric();
  const opening = Session.open(quick(fabric, options));
  const stream = await fabric.accept();
  await stream.welcome({}, leaseMs);
  const session = await opening;
  // The fabric does not answer the goodbye: nothing is gained by waiting for it.
  onTestFinished(() => session.close("test over", 0));
  return { fabric, session, stream };
}

/** Builds a task frame. */
export function delivery(
  kind: "OFFERED" | "ASSIGNED" | "RETURNED",
  task: MessageInitShape<typeof TaskSchema>,
) {
  const attempt = kind === "OFFERED" ? 0n : 1n;
  return {
    case: "task" as const,
    value: { delivery: TaskDelivery[kind], task: create(TaskSchema, { attempt, ...task }) },
  };
}

/** Takes the next task of a session. */
export async function nextTask(session: Session): Promise<TaskHandle> {
  const { value } = await session[Symbol.asyncIterator]().next();
  if (value === undefined) throw new Error("the session ended before a task came");
  return value;
}
