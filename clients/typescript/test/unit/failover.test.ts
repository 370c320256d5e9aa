import { readFileSync } from "node:fs";
import { create } from "@bufbuild/protobuf";
import { expect, onTestFinished, test } from "vitest";
import { splitUrls, Turns } from "../../src/addresses.js";
import { repeatable } from "../../src/failover.js";
import {
  type Clients,
  CoordinatorService,
  createClients,
  ErrorReason,
  FabricError,
  GovernorService,
  NotifyService,
  Session,
  WitnessService,
  watchTasks,
} from "../../src/index.js";
import { breakOff, drain, loseTheStore, Replica, silentUrl } from "../support/replica.js";
import { delivery, nextTask, quick, scriptedFabric } from "../support/session-fixture.js";

/** Returns clients that begin with the first server. */
function clientsOf(...urls: string[]): Clients {
  const clients = createClients({ url: urls, random: () => 0 });
  onTestFinished(() => clients.close());
  return clients;
}

async function two() {
  const [first, second] = [await Replica.start(), await Replica.start()];
  return { first, second, clients: clientsOf(first.url, second.url) };
}

type Call = (clients: Clients) => Promise<unknown>;

const get: Call = ({ coordinator }) => coordinator.getTask({ taskId: "t" }, { timeoutMs: 10_000 });
const createIt: Call = ({ coordinator }) => coordinator.createTask({ task: { taskId: "t" } });
const createWithId: Call = ({ coordinator }) =>
  coordinator.createTask({ task: { taskId: "t" }, requestId: "r" });

const ALL: readonly [string, Call][] = [
  ["a read", get],
  ["a creation", createIt],
  ["a creation with an id", createWithId],
];
const FAILURES = [
  ["an answer", breakOff],
  ["a store", loseTheStore],
] as const;

test("a url names one server or several", () => {
  expect(splitUrls("http://a:1")).toEqual(["http://a:1"]);
  expect(splitUrls("http://a:1, http://b:2")).toEqual(["http://a:1", "http://b:2"]);
  expect(splitUrls(["http://a:1", "http://b:2"])).toEqual(["http://a:1", "http://b:2"]);
  expect(() => splitUrls([])).toThrow(TypeError);
});

test("turns begin anywhere, and go to the next when the one in turn is left", () => {
  const turns = new Turns(["a", "b", "c"], () => 0.5);
  expect(turns.current).toBe("b");
  turns.leave("a");
  expect(turns.current).toBe("b");
  turns.leave("b");
  turns.leave("c");
  expect(turns.current).toBe("a");
});

test.each(ALL)("%s that never reached a dead server goes to the next", async (_, call) => {
  const { first, second, clients } = await two();
  await first.stop();
  await call(clients);
  expect(second.calls).toBe(1);
});

test.each(ALL)("%s leaves a server that drains", async (_, call) => {
  const { first, second, clients } = await two();
  first.answer = drain;
  for (let round = 0; round < 3; round += 1) await call(clients);
  expect([first.calls, second.calls]).toEqual([1, 3]);
});

test.each(FAILURES)("without %s, what may be repeated is", async (_, failure) => {
  for (const call of [get, createWithId]) {
    const { first, second, clients } = await two();
    first.answer = failure;
    await call(clients);
    expect([first.calls, second.calls]).toEqual([1, 1]);
  }
});

test.each(FAILURES)("without %s, a creation without an id is not repeated", async (_, failure) => {
  const { first, second, clients } = await two();
  first.answer = failure;
  await expect(createIt(clients)).rejects.toThrow();
  expect(second.calls).toBe(0);
  await createIt(clients);
  expect([first.calls, second.calls]).toEqual([1, 1]);
});

test("each server is asked once", async () => {
  const { first, second, clients } = await two();
  first.answer = drain;
  second.answer = drain;
  const failure = FabricError.from(await get(clients).catch((error: unknown) => error));
  expect(failure.reason).toBe(ErrorReason.DRAINING);
  expect([first.calls, second.calls]).toEqual([1, 1]);
});

test("a server that listens and says nothing is found by a ping", async () => {
  const replica = await Replica.start();
  await get(clientsOf(await silentUrl(), replica.url));
  expect(replica.calls).toBe(1);
});

test("N10: a watch goes on at another server where it stood", async () => {
  const { first, second, clients } = await two();
  first.answer = drain;
  const events = watchTasks(clients, { random: () => 0 });
  onTestFinished(() => void events.return());
  expect((await events.next()).value).toMatchObject({ cursor: "after nothing" });
  expect((await events.next()).value).toMatchObject({ cursor: "after after nothing" });
  expect([first.cursors, second.cursors[0]]).toEqual([[""], "after nothing"]);
});

test("U6: a session goes on at the next server with its token, and keeps its tasks", async () => {
  const [first, second] = [await scriptedFabric(), await scriptedFabric()];
  const opening = Session.open({ ...quick(first), url: `${first.url},${second.url}` });
  const before = await first.accept();
  await before.welcome();
  const session = await opening;
  onTestFinished(() => session.close("test over", 0));
  before.send(delivery("ASSIGNED", { taskId: "t" }));
  const task = await nextTask(session);
  await first.stop();
  const after = await second.accept();
  const owned = [{ taskId: "t", attempt: 1n }];
  const { resumeToken } = await after.welcome({ sessionEpoch: 2n, resumed: true, owned });
  expect(resumeToken).toBe("t1");
  const done = task.complete();
  after.reply(await after.said("complete"), { case: "task", value: { taskId: "t", attempt: 1n } });
  await done;
});

test("repeats what the contract calls safe to repeat", () => {
  const comments = commentsOfTheContract();
  let checked = 0;
  for (const service of [CoordinatorService, GovernorService, NotifyService, WitnessService]) {
    for (const method of service.methods) {
      if (method.methodKind !== "unary") continue;
      const comment = comments.get(method.name) ?? "";
      const reads = /^(Get|List|Find|Query)/.test(method.name);
      const withId = comment.includes("same request id");
      const safe = reads || (comment.includes("Safe to repeat") && !withId);
      expect([method.name, repeatable(method, create(method.input))]).toEqual([method.name, safe]);
      if (withId) expect(repeatable(method, { requestId: "r" })).toBe(true);
      checked += 1;
    }
  }
  expect(checked).toBeGreaterThan(20);
});

/** Returns what is written above each call. */
function commentsOfTheContract(): Map<string, string> {
  const comments = new Map<string, string>();
  for (const name of ["coordinator", "governor", "notify", "witness"]) {
    const path = `../../../../proto/infrafabric/v1/${name}_service.proto`;
    const text = readFileSync(new URL(path, import.meta.url), "utf8");
    for (const [, comment = "", call = ""] of text.matchAll(/((?:^ *\/\/.*\n)*)^ *rpc (\w+)/gm)) {
      comments.set(call, comment.replaceAll(/\s*\/\/\s*/g, " "));
    }
  }
  return comments;
}
