import { expect, test } from "vitest";
import { TaskState } from "../../src/index.js";
import { delivery, join, nextTask } from "../support/session-fixture.js";

test("a goodbye is said after all that waits, however much that is", async () => {
  const { session, stream } = await join({ maxUnanswered: 1 });
  stream.send(delivery("ASSIGNED", { taskId: "t" }));
  const task = await nextTask(session);
  const done = task.complete();
  const closed = session.close();
  const said = await stream.said("complete");
  const goodbye = await stream.said("close");
  stream.reply(said, { case: "task", value: { taskId: "t", state: TaskState.COMPLETED } });
  stream.reply(goodbye, { case: "accepted", value: {} });
  expect((await done).state).toBe(TaskState.COMPLETED);
  await closed;
});

test("an offer that comes when too much waits is claimed when there is room", async () => {
  const { session, stream } = await join({ maxUnanswered: 1 });
  const created = session.create([{ taskId: "new" }]);
  const said = await stream.said("create");
  stream.send(delivery("OFFERED", { taskId: "offer" }), { case: "heartbeat", value: {} });
  stream.reply(said, { case: "create", value: { taskIds: ["new"] } });
  expect(await created).toEqual(["new"]);
  stream.send({ case: "heartbeat", value: {} });
  expect((await stream.said("claim")).value.taskId).toBe("offer");
});
