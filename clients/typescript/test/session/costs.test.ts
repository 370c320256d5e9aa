import { Code } from "@connectrpc/connect";
import { expect, test } from "vitest";
import { ErrorReason, TaskLostError } from "../../src/index.js";
import { refusedStatus } from "../support/refusal.js";
import { delivery, join, nextTask } from "../support/session-fixture.js";

test("a cost of a task names its attempt, and is said once more with its id after a cut", async () => {
  const { fabric, session, stream } = await join();
  stream.send(delivery("ASSIGNED", { taskId: "a" }));
  const task = await nextTask(session);
  const cost = task.cost("llm.completion", 250_000);
  const said = await stream.said("cost");
  expect(said.value).toMatchObject({
    operation: "llm.completion",
    costMicros: 250_000n,
    taskId: "a",
    attempt: 1n,
  });
  fabric.cut();
  const again = await fabric.accept();
  await again.welcome({ resumed: true, owned: [{ taskId: "a", attempt: 1n }] });
  const repeated = await again.said("cost");
  expect(repeated).toEqual(said);
  again.reply(repeated, { case: "cost", value: { reservationLeftMicros: 750_000n } });
  await expect(cost).resolves.toMatchObject({ reservationLeftMicros: 750_000n });
});

test("a cost of the swarm itself names no task", async () => {
  const { session, stream } = await join();
  const cost = session.cost("rent", 5n);
  const said = await stream.said("cost");
  expect(said.value).toMatchObject({ operation: "rent", costMicros: 5n, taskId: "", attempt: 0n });
  stream.reply(said, { case: "cost", value: { availableMicros: -5n } });
  await expect(cost).resolves.toMatchObject({ availableMicros: -5n });
});

test("a cost of a claim that is gone says so", async () => {
  const { session, stream } = await join();
  stream.send(delivery("ASSIGNED", { taskId: "a" }));
  const task = await nextTask(session);
  const cost = task.cost("llm.completion", 1);
  const gone = refusedStatus(ErrorReason.STALE_ATTEMPT, Code.FailedPrecondition);
  stream.reply(await stream.said("cost"), { case: "error", value: gone });
  await expect(cost).rejects.toBeInstanceOf(TaskLostError);
  expect(task.signal.aborted).toBe(true);
});
