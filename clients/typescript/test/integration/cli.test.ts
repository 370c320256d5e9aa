import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { createInterface } from "node:readline";
import { expect, onTestFinished, test } from "vitest";
import { Dispatch, TaskState } from "../../src/index.js";
import { PACKAGE } from "../support/build.js";
import { clientsOf, createTask, fresh, open, taskNow } from "../support/fleet.js";
import { Mailbox } from "../support/mailbox.js";
import { Server } from "../support/server.js";

const MAIN = `${PACKAGE}/dist/cli/main.js`;

const server = Server.forThisFile();

type Line = Record<string, unknown>;

/** A run of the command line, with `--json`, against the server. */
class Run {
  readonly #lines = new Mailbox<Line>();
  readonly #child;
  readonly #exit: Promise<number>;
  #errors = "";

  constructor(args: readonly string[], url = server.url) {
    this.#child = spawn(process.execPath, [MAIN, ...args, "--json"], {
      env: { ...process.env, INFRAFABRIC_URL: url },
    });
    createInterface({ input: this.#child.stdout }).on("line", (line) => {
      this.#lines.put(JSON.parse(line));
    });
    this.#child.stderr.on("data", (data) => {
      this.#errors += data;
    });
    this.#exit = once(this.#child, "close").then(([code]) => code);
    onTestFinished(() => {
      this.#child.kill("SIGKILL");
    });
  }

  /** Waits for a line that has these values. */
  line(expected: Line): Promise<Line> {
    return this.#lines.take((line) =>
      Object.entries(expected).every(([name, value]) => line[name] === value),
    );
  }

  say(line: string): void {
    this.#child.stdin.write(`${line}\n`);
  }

  signal(name: NodeJS.Signals): void {
    this.#child.kill(name);
  }

  /** Waits for the end: returns the exit code, the lines that nobody waited for, and errors. */
  async end(): Promise<{ code: number; lines: readonly Line[]; errors: string }> {
    return { code: await this.#exit, lines: this.#lines.rest, errors: this.#errors };
  }
}

test("U2: session --once runs the command for one task and reports its result", async () => {
  const clients = clientsOf(server.url);
  const capability = fresh("cap");
  const command = 'echo "::progress 60 nearly" >&2; read -r input; echo "{\\"got\\": $input}"';
  const args = ["--swarm", fresh("ts"), "--capabilities", capability, "--exec", command, "--once"];
  const run = new Run(["session", ...args]);
  await run.line({ event: "connected" });
  const { taskId } = await createTask(clients, {
    input: { q: [1, 2] },
    requiredCapabilities: [capability],
  });
  await run.line({ event: "progress", task_id: taskId, percent: 50, note: "nearly" });
  await run.line({ event: "completed", task_id: taskId, attempt: "1" });
  expect((await run.end()).code).toBe(0);
  expect(await taskNow(clients, taskId)).toMatchObject({
    state: TaskState.COMPLETED,
    milestoneNote: "nearly",
    result: { got: { q: [1, 2] } },
  });
});

test("U2: a command that fails fails its task, with the end of what it said", async () => {
  const clients = clientsOf(server.url);
  const capability = fresh("cap");
  const { taskId } = await createTask(clients, {
    requiredCapabilities: [capability],
    retryPolicy: { maxAttempts: 1 },
  });
  const run = new Run(
    ["session", "--swarm", fresh("ts"), "--capabilities", capability, "--max-tasks", "1"].concat([
      "--exec",
      "echo out of paper >&2; exit 4",
    ]),
  );
  await run.line({ event: "failed", task_id: taskId });
  const { code, errors } = await run.end();
  expect(code).toBe(1);
  expect(errors).toContain("out of paper");
  const { state, reason } = await taskNow(clients, taskId);
  expect({ state, reason }).toEqual({
    state: TaskState.FAILED,
    reason: "exit code 4: out of paper",
  });
});

test("C11: a cancelled task's command is stopped, and the session takes the next", async () => {
  const clients = clientsOf(server.url);
  const capability = fresh("cap");
  const args = ["--swarm", fresh("ts"), "--capabilities", capability];
  const command = 'echo "::progress 0 begun" >&2; test "$IFC_TITLE" = quick || exec sleep 600';
  const run = new Run(["session", ...args, "--exec", command]);
  const requiredCapabilities = [capability];
  const { taskId } = await createTask(clients, { requiredCapabilities, title: "slow" });
  await run.line({ event: "progress", task_id: taskId });
  await clients.coordinator.cancelTask({ taskId, reason: "enough" });
  await run.line({ event: "lost", task_id: taskId });
  const quick = await createTask(clients, { requiredCapabilities, title: "quick" });
  await run.line({ event: "completed", task_id: quick.taskId });
  run.signal("SIGTERM");
  expect((await run.end()).code).toBe(0);
});

test("U2: SIGINT gives back what is held, at once, and ends well", async () => {
  const clients = clientsOf(server.url);
  const run = new Run(["session", "--swarm", fresh("ts"), "--exec", "sleep 600"]);
  await run.line({ event: "connected" });
  const { taskId } = await createTask(clients, {});
  await run.line({ event: "task" });
  run.signal("SIGINT");
  await run.line({ event: "released", task_id: taskId, reason: "the session was closed" });
  expect((await run.end()).code).toBe(0);
  expect((await taskNow(clients, taskId)).ownerSwarmId).toBe("");
  await clients.coordinator.cancelTask({ taskId, reason: "test over" });
});

test("U2: without a command, lines on standard input direct the session", async () => {
  const clients = clientsOf(server.url);
  const swarm = fresh("ts");
  const [first, second, third] = await Promise.all(
    [1, 2, 3].map(() => createTask(clients, { dispatch: Dispatch.MANUAL })),
  );
  const ids = [first, second, third].map((task) => task?.taskId);
  const run = new Run(["session", "--swarm", swarm, "--slots", "3"]);
  for (const id of ids) {
    run.say(`claim ${id}`);
    await run.line({ event: "claim", task_id: id, claimed: true });
  }
  run.say(`progress ${ids[0]}`);
  run.say(`progress ${ids[0]} 75 almost there`);
  await run.line({ event: "progress", percent: 75 });
  run.say(`complete ${ids[0]} {"answer": 42}`);
  await run.line({ event: "completed", task_id: ids[0] });
  run.say(`release ${ids[1]} not for me`);
  await run.line({ event: "released", task_id: ids[1] });
  run.say(`block ${ids[2]} need a key`);
  await run.line({ event: "blocked", task_id: ids[2] });
  run.say("status busy on the roof");
  await run.line({ event: "status", status: "busy" });
  run.say("complete nothing");
  run.say("complete");
  run.say("dance");
  run.say("close");
  await run.line({ event: "closed" });
  const { code, errors } = await run.end();
  expect(code).toBe(0);
  expect(errors).toContain("this session does not hold a task nothing");
  expect(errors).toContain("name a task after the word");
  expect(errors).toContain("a milestone is one of 0, 25, 50, 75, 100: got nothing");
  expect(errors).toContain("a line is one of");
  expect(await taskNow(clients, ids[0] ?? "")).toMatchObject({
    state: TaskState.COMPLETED,
    result: { answer: 42 },
  });
});

test("G9: a session that is asked for help says so, and a line on standard input accepts", async () => {
  const clients = clientsOf(server.url);
  const [asker, swarm, capability] = [fresh("asker"), fresh("ts"), fresh("cap")];
  const run = new Run(["session", "--swarm", swarm, "--capabilities", capability]);
  await run.line({ event: "connected" });
  await clients.coordinator.registerSwarm({ swarmId: asker });
  const { taskId } = await createTask(clients, { dispatch: Dispatch.MANUAL });
  await clients.coordinator.claimTask({ swarmId: asker, taskId });
  const { help } = await clients.governor.requestHelp({
    swarmId: asker,
    taskId,
    attempt: 1n,
    reason: "no key",
    needs: [capability],
  });
  const { help: offer } = await run.line({ event: "help_wanted" });
  expect(offer).toMatchObject({ help_id: help?.helpId, asked_swarm_ids: [swarm] });
  run.say("accept nowhere");
  run.say(`accept ${help?.helpId}`);
  await run.line({ event: "accept", help_id: help?.helpId, accepted: true });
  await clients.coordinator.resolveBlocker({ swarmId: asker, taskId });
  await clients.coordinator.cancelTask({ taskId, reason: "test over" });
  run.say("close");
  const { code, errors } = await run.end();
  expect(code).toBe(0);
  expect(errors).toContain("ERROR_REASON_HELP_NOT_FOUND");
});

test("G6: a session that must halt says so, whether it holds a claim or none", async () => {
  const clients = clientsOf(server.url);
  const swarmId = fresh("ts");
  const scope = { case: "swarmId" as const, value: swarmId };
  const reason = "the bill is wrong";
  const run = new Run(["session", "--swarm", swarmId]);
  await run.line({ event: "connected" });
  await clients.governor.tripCircuitBreaker({ scope, reason });
  const { halt } = await run.line({ event: "halt" });
  expect(halt).toMatchObject({ breaker: { swarm_id: swarmId, detail: reason } });
  await clients.governor.resetCircuitBreaker({
    scope,
    approver: "Ann Lee",
    reason: "it was not",
  });
  const { taskId } = await createTask(clients, { dispatch: Dispatch.MANUAL });
  run.say(`claim ${taskId}`);
  await run.line({ event: "task" });
  await clients.governor.tripCircuitBreaker({ scope, reason });
  await run.line({ event: "halt" });
  await run.line({ event: "lost", task_id: taskId });
  await clients.coordinator.cancelTask({ taskId, reason: "test over" });
  run.say("close");
  expect((await run.end()).code).toBe(0);
});

test("notify reports a status, and watch shows it as it happens", async () => {
  const watch = new Run(["watch", "statuses"]);
  await watch.line({ watch: "status", snapshot_end: undefined });
  const swarm = fresh("ts");
  const run = new Run(["notify", "help", "stuck", "--swarm", swarm, "--needs", "a,b"]);
  await run.line({ swarm_id: swarm, status: "help" });
  expect((await run.end()).code).toBe(0);
  for (;;) {
    const { changed } = (await watch.line({ watch: "status" })) as { changed?: Line };
    const { swarm_id } = changed ?? {};
    if (swarm_id === swarm) {
      expect(changed).toMatchObject({ status: "STATUS_HELP", message: "stuck" });
      break;
    }
  }
  watch.signal("SIGINT");
  expect((await watch.end()).code).toBe(0);
});

test("tasks lists by state; claim wins once and then loses with exit code 1", async () => {
  const clients = clientsOf(server.url);
  const { taskId } = await createTask(clients, { dispatch: Dispatch.MANUAL });
  const owner = await open(server.url);
  const [a, b] = [fresh("ts"), fresh("ts")];
  for (const swarmId of [a, b]) await clients.coordinator.registerSwarm({ swarmId });
  const won = new Run(["claim", taskId, "--swarm", a]);
  await won.line({ claimed: true });
  expect((await won.end()).code).toBe(0);
  const lost = new Run(["claim", taskId, "--swarm", b]);
  await lost.line({ refusal: "CLAIM_REFUSAL_ALREADY_CLAIMED", owner_swarm_id: a });
  expect((await lost.end()).code).toBe(1);
  const list = new Run(["tasks", "--state", "claimed", "--owner", a]);
  expect(await list.end()).toMatchObject({ code: 0, lines: [{ task_id: taskId }] });
  expect(owner.connected).toBe(true);
});

test("exit codes: 2 for a wrong command line, 1 for a refusal, 3 when nobody answers", async () => {
  for (const args of [["dance"], ["notify"], ["tasks", "--state", "odd"], ["session"], ["claim"]]) {
    expect((await new Run(args).end()).code).toBe(2);
  }
  const refused = await new Run(["notify", "idle", "--swarm", "no blanks"]).end();
  expect(refused.code).toBe(1);
  expect(JSON.parse(refused.errors)).toMatchObject({ reason: "ERROR_REASON_INVALID_FIELD" });
  const nowhere = "http://127.0.0.1:1";
  expect((await new Run(["tasks"], nowhere).end()).code).toBe(3);
  const session = ["session", "--swarm", "s", "--connect-timeout", "1"];
  expect((await new Run(session, nowhere).end()).code).toBe(3);
});

test("U2: the address may be the one that `infrafabric` takes, and a wrong one is wrong use", async () => {
  const address = new URL(server.url).host;
  expect((await new Run(["tasks", "--url", address]).end()).code).toBe(0);
  expect((await new Run(["tasks"], address).end()).code).toBe(0);
  expect((await new Run(["tasks", "--url", `127.0.0.1:1,${address}`]).end()).code).toBe(0);
  const wrong = await new Run(["tasks", "--url", "http://no port:x"]).end();
  expect(wrong.code).toBe(2);
  expect(JSON.parse(wrong.errors).error).toContain('got "http://no port:x"');
});

test("a server that is not the fabric is out of reach, and no reason to crash", async () => {
  const web = createServer((_request, response) => response.end()).listen(0, "127.0.0.1");
  onTestFinished(() => void web.close());
  await once(web, "listening");
  const { port } = web.address() as AddressInfo;
  for (const args of [["tasks"], ["session", "--swarm", "s", "--connect-timeout", "1"]]) {
    const { code, errors } = await new Run(args, `http://127.0.0.1:${port}`).end();
    expect(code).toBe(3);
    expect(errors).not.toContain("node:");
  }
});
