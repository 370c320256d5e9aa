import { expect, test, vi } from "vitest";
import { TaskQueue } from "../../src/session/task-queue.js";

test("items go to whoever waits, in order, each once", async () => {
  const onTaken = vi.fn();
  const queue = new TaskQueue<string>(onTaken);
  const early = [queue.next(), queue.next()];
  for (const item of ["a", "b", "c"]) queue.push(item);
  expect(onTaken).toHaveBeenCalledTimes(2);
  expect(queue.size).toBe(1);
  const items = await Promise.all([...early, queue.next()]);
  expect(items.map(({ value }) => value)).toEqual(["a", "b", "c"]);
  expect(onTaken).toHaveBeenCalledTimes(3);
});

test("an item can be taken back until someone took it", async () => {
  const queue = new TaskQueue<string>(() => undefined);
  queue.push("a");
  queue.push("b");
  expect(queue.remove("a")).toBe(true);
  expect(queue.remove("a")).toBe(false);
  expect((await queue.next()).value).toBe("b");
  expect(queue.remove("b")).toBe(false);
});

test("the end reaches those who wait and those who come later; nothing is left", async () => {
  const queue = new TaskQueue<string>(() => undefined);
  const waiting = queue.next();
  queue.end();
  queue.push("late");
  expect(await waiting).toEqual({ done: true, value: undefined });
  expect(await queue.next()).toEqual({ done: true, value: undefined });
});

test("an end with an error is thrown, now and later", async () => {
  const queue = new TaskQueue<string>(() => undefined);
  const waiting = queue.next();
  queue.end(new Error("fenced"));
  await expect(waiting).rejects.toThrow("fenced");
  await expect(queue.next()).rejects.toThrow("fenced");
});
