import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join as joinPath } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { judge, progressOf, runCommand } from "../../src/cli/exec.js";
import type { Milestone, TaskHandle } from "../../src/index.js";
import { Deferred } from "../../src/session/promises.js";
import { aborted } from "../support/mailbox.js";
import type { ScriptedStream } from "../support/scripted-fabric.js";
import { delivery, join, nextTask } from "../support/session-fixture.js";

interface Working {
  readonly task: TaskHandle;
  readonly stream: ScriptedStream;
}

async function working(): Promise<Working> {
  const { session, stream } = await join();
  const input = { question: "why", depth: 2 };
  stream.send(delivery("ASSIGNED", { taskId: "t", attempt: 7n, title: "Ask", input }));
  return { task: await nextTask(session), stream };
}

const SAY_STARTED = 'echo "::progress 0" >&2';
const QUIET = { progress: () => undefined, stderr: () => undefined };

/** Names a file that is not there yet, for the time of the test. */
async function scratchFile(): Promise<string> {
  const folder = await mkdtemp(joinPath(tmpdir(), "infrafabric-"));
  onTestFinished(() => rm(folder, { recursive: true }));
  return joinPath(folder, "file");
}

async function run(command: string, hooks = {}) {
  const { task } = await working();
  return runCommand(command, task, {
    progress: () => undefined,
    stderr: () => undefined,
    ...hooks,
  });
}

test("the input comes as JSON, and a JSON object on standard output is the result", async () => {
  const result = { question: "why", depth: 2 };
  expect(await run("cat")).toEqual({ kind: "result", result });
});

test("the environment names the task, and text is a result's output", async () => {
  expect(await run('echo "$IFC_TASK_ID $IFC_ATTEMPT $IFC_TITLE"')).toEqual({
    kind: "result",
    result: { output: "t 7 Ask" },
  });
});

test("an exit code is a failure that quotes the end of standard error", async () => {
  const lines: string[] = [];
  const stderr = (line: string) => lines.push(line);
  expect(await run("echo first >&2; echo no such file >&2; exit 3", { stderr })).toEqual({
    kind: "failure",
    reason: "exit code 3: first\nno such file",
    failure: "retryable",
  });
  expect(lines).toEqual(["first", "no such file"]);
});

test("progress lines are reports, and not part of what is passed on", async () => {
  const reports: [Milestone, string][] = [];
  const lines: string[] = [];
  const ran = await run('echo "::progress 50 half way" >&2; echo other >&2; echo "{}"', {
    progress: (...report: [Milestone, string]) => reports.push(report),
    stderr: (line: string) => lines.push(line),
  });
  expect(ran).toEqual({ kind: "result", result: {} });
  expect(reports).toEqual([[50, "half way"]]);
  expect(lines).toEqual(["other"]);
});

test("a command that never stops talking is stopped, and fails for good", async () => {
  expect(await run("cat /dev/zero")).toMatchObject({ kind: "failure", failure: "permanent" });
});

test("a command need not read its input", async () => {
  expect(await run("exec 0<&-; echo done")).toMatchObject({ result: { output: "done" } });
});

test("C11: a revoked task ends the command with everything that it started", async () => {
  const { task, stream } = await working();
  const ended = await scratchFile();
  const started = new Deferred();
  const child = `trap "touch ${ended}; exit" TERM; ${SAY_STARTED}; while :; do sleep 0.01; done`;
  const hooks = { ...QUIET, progress: started.resolve };
  const running = runCommand(`sh -c '${child}' & wait`, task, hooks);
  await started.promise;
  stream.send({ case: "revoked", value: { taskId: "t", attempt: 7n } });
  expect(await running).toEqual({ kind: "killed" });
  expect(existsSync(ended)).toBe(true);
});

test("a command that does not stop when it is asked to is made to", async () => {
  const { task, stream } = await working();
  const started = new Deferred();
  const command = `trap "" TERM; ${SAY_STARTED}; while :; do sleep 0.01; done`;
  const running = runCommand(command, task, { ...QUIET, progress: started.resolve }, 50);
  await started.promise;
  stream.send({ case: "revoked", value: { taskId: "t", attempt: 7n } });
  expect(await running).toEqual({ kind: "killed" });
});

test("a command for a task that is lost already does not get far", async () => {
  const { task, stream } = await working();
  stream.send({ case: "revoked", value: { taskId: "t", attempt: 7n } });
  await aborted(task.signal);
  expect(await runCommand("sleep 600", task, QUIET)).toEqual({ kind: "killed" });
});

test.each([
  ["::progress 0", [0, ""]],
  ["::progress 49 almost half", [25, "almost half"]],
  ["::progress 100 done", [100, "done"]],
  ["::progress 101", undefined],
  ["::progress", undefined],
  ["::progress x", undefined],
  ["say ::progress 50", undefined],
] as const)("a progress line: %s", (line, expected) => {
  expect(progressOf(line)).toEqual(expected);
});

test("a list or a number is text, as a result is an object", () => {
  expect(judge(undefined, "[1, 2]\n", "")).toEqual({
    kind: "result",
    result: { output: "[1, 2]" },
  });
  expect(judge("ended by SIGKILL", "{}", "")).toMatchObject({ reason: "ended by SIGKILL" });
});
