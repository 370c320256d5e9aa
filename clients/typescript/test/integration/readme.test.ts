import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFile, rm, writeFile } from "node:fs/promises";
import { expect, onTestFinished, test } from "vitest";
import { TaskState } from "../../src/index.js";
import { PACKAGE } from "../support/build.js";
import { clientsOf, createTask, taskNow } from "../support/fleet.js";
import { Server } from "../support/server.js";

const server = Server.forThisFile();

test("D5: the README's example runs as it stands: it does its tasks, and ends after the last", async () => {
  const [, example = ""] =
    /```ts\n([\s\S]*?)```/.exec(await readFile(`${PACKAGE}/README.md`, "utf8")) ?? [];
  // Inside the package, so that it finds the package by its name.
  const file = `${PACKAGE}/dist/readme-example.mjs`;
  await writeFile(file, example);
  onTestFinished(() => rm(file));
  const env = { ...process.env, INFRAFABRIC_URL: server.url };
  const child = spawn(process.execPath, [file], { env, stdio: ["ignore", "inherit", "inherit"] });
  const exit = once(child, "exit");
  const clients = clientsOf(server.url);
  const requiredCapabilities = ["text/shout"];
  const inputs = [{ text: "one" }, { text: 2 }, { text: "three", last: true }];
  const tasks = [];
  for (const input of inputs) {
    const retryPolicy = { maxAttempts: 1 };
    tasks.push(await createTask(clients, { input, requiredCapabilities, retryPolicy }));
  }
  expect(await exit).toEqual([0, null]);
  const ended = await Promise.all(tasks.map(({ taskId }) => taskNow(clients, taskId)));
  expect(ended.map(({ state, result }) => [state, result])).toEqual([
    [TaskState.COMPLETED, { text: "ONE" }],
    [TaskState.FAILED, undefined],
    [TaskState.COMPLETED, { text: "THREE" }],
  ]);
});
