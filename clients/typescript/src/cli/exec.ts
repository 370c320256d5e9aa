import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import type { JsonObject } from "@bufbuild/protobuf";
import { type FailureKindName, MILESTONES, type Milestone } from "../names.js";
import type { TaskHandle } from "../session/handle.js";
import { objectOf } from "./json.js";

/** What became of a command. */
export type Ran =
  | { readonly kind: "result"; readonly result: JsonObject }
  | { readonly kind: "failure"; readonly reason: string; readonly failure: FailureKindName }
  | { readonly kind: "killed" };

/** What a command says while it runs. */
export interface CommandHooks {
  progress(percent: Milestone, note: string): void;
  stderr(line: string): void;
}

/** The most that a result may have, in bytes; the contract's limit. */
const MAX_OUTPUT_BYTES = 256 * 1024;
/** The most of standard error that a failure's reason quotes, in characters. */
const MAX_TAIL = 3_500;
/** How long a command that was asked to stop may go on, in milliseconds. */
const GRACE_MS = 5_000;

/**
 * Runs a shell command for a task: its input as JSON on standard input, its result from standard
 * output, its progress from lines `::progress PERCENT NOTE` on standard error.
 *
 * When the claim is lost, the command's whole process group is ended.
 */
export async function runCommand(
  command: string,
  task: TaskHandle,
  hooks: CommandHooks,
  graceMs = GRACE_MS,
): Promise<Ran> {
  const env = {
    ...process.env,
    IFC_TASK_ID: task.taskId,
    IFC_ATTEMPT: `${task.attempt}`,
    IFC_TITLE: task.task.title,
  };
  // A process group of its own, so that what the command starts ends with it.
  const child = spawn("/bin/sh", ["-c", command], { env, detached: true });
  const stop = stopperOf(child, graceMs);
  task.signal.addEventListener("abort", stop, { once: true });
  if (task.signal.aborted) stop();
  // A command need not read its input.
  child.stdin.on("error", () => undefined);
  child.stdin.end(JSON.stringify(task.input));
  const output = collect(child, stop);
  const tail = listen(child, hooks);
  try {
    const ending = await endOf(child);
    if (task.signal.aborted) return { kind: "killed" };
    return judge(ending, output(), tail());
  } finally {
    task.signal.removeEventListener("abort", stop);
  }
}

/** Returns how the command ended, once its output is complete: nothing when it ended well. */
function endOf(child: ChildProcessWithoutNullStreams): Promise<string | undefined> {
  return new Promise((resolve) => {
    child.once("error", (error) => resolve(`it could not be started: ${error.message}`));
    child.once("close", (code, signal) => {
      if (signal !== null) resolve(`ended by ${signal}`);
      else resolve(code === 0 ? undefined : `exit code ${code}`);
    });
  });
}

/** Returns what asks the command's process group to stop, and makes it when it does not. */
function stopperOf(child: ChildProcessWithoutNullStreams, graceMs: number): () => void {
  return () => {
    signalGroup(child, "SIGTERM");
    const timer = setTimeout(() => {
      signalGroup(child, "SIGKILL");
      // Who left the group may still hold the pipes open.
      child.stdout.destroy();
      child.stderr.destroy();
    }, graceMs);
    child.once("close", () => clearTimeout(timer));
  };
}

function signalGroup({ pid }: ChildProcessWithoutNullStreams, signal: NodeJS.Signals): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, signal);
  } catch (error) {
    // ESRCH: all of it has ended already.
    if (!(error instanceof Error && "code" in error && error.code === "ESRCH")) throw error;
  }
}

/** Collects standard output; undefined when it is too much, and then the command is stopped. */
function collect(
  child: ChildProcessWithoutNullStreams,
  stop: () => void,
): () => string | undefined {
  const chunks: Buffer[] = [];
  let bytes = 0;
  child.stdout.on("data", (chunk: Buffer) => {
    const before = bytes;
    bytes += chunk.length;
    if (bytes <= MAX_OUTPUT_BYTES) chunks.push(chunk);
    else if (before <= MAX_OUTPUT_BYTES) stop();
  });
  return () => (bytes > MAX_OUTPUT_BYTES ? undefined : Buffer.concat(chunks).toString());
}

/** Reads standard error line by line; returns what tells its last lines. */
function listen(child: ChildProcessWithoutNullStreams, hooks: CommandHooks): () => string {
  let tail = "";
  createInterface({ input: child.stderr }).on("line", (line) => {
    const progress = progressOf(line);
    if (progress !== undefined) {
      hooks.progress(...progress);
      return;
    }
    hooks.stderr(line);
    tail = `${tail}${line}\n`.slice(-MAX_TAIL);
  });
  return () => tail.trim();
}

/** Reads `::progress PERCENT NOTE`; the percentage counts as the milestone that it has reached. */
export function progressOf(line: string): [Milestone, string] | undefined {
  const match = /^::progress (\d{1,3})(?: (.*))?$/.exec(line);
  const percent = Number(match?.[1]);
  const milestone = MILESTONES.findLast((reached) => reached <= percent);
  return milestone === undefined || percent > 100 ? undefined : [milestone, match?.[2] ?? ""];
}

/** Decides what an ended command means; output that is no JSON object is a result's `output`. */
export function judge(ending: string | undefined, output: string | undefined, tail: string): Ran {
  if (output === undefined) {
    const reason = `the output has more than ${MAX_OUTPUT_BYTES} bytes`;
    return { kind: "failure", reason, failure: "permanent" };
  }
  if (ending !== undefined) {
    const reason = tail === "" ? ending : `${ending}: ${tail}`;
    return { kind: "failure", reason, failure: "retryable" };
  }
  return { kind: "result", result: objectOf(output) ?? { output: output.trimEnd() } };
}
