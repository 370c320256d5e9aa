import { durationFromMs } from "@bufbuild/protobuf/wkt";
import { expect, test } from "vitest";
import { type HaltFrame, RevokeReason, TaskLostError } from "../../src/index.js";
import { aborted, Mailbox } from "../support/mailbox.js";
import { delivery, join, nextTask } from "../support/session-fixture.js";

const HALT = {
  case: "halt" as const,
  value: {
    breaker: { swarmId: "s1", detail: "3 failures in a row" },
    grace: durationFromMs(30_000),
  },
};

test("a session that must halt stops the work, gives it back and tells the program", async () => {
  const halts = new Mailbox<HaltFrame>();
  const { session, stream } = await join({ slots: 2, onHalt: (halt) => halts.put(halt) });
  stream.send(delivery("ASSIGNED", { taskId: "a" }), delivery("ASSIGNED", { taskId: "b" }));
  const task = await nextTask(session);
  stream.send(HALT);
  await aborted(task.signal);
  expect(task.signal.reason).toBeInstanceOf(TaskLostError);
  expect(task.signal.reason).toMatchObject({ reason: RevokeReason.HALTED });
  const back = [await stream.said("release"), await stream.said("release")];
  expect(back.map(({ value }) => value.taskId)).toEqual(["a", "b"]);
  expect(back[0]?.value.reason).toBe("halted: 3 failures in a row");
  expect((await halts.take()).breaker?.detail).toBe("3 failures in a row");
  expect(session.tasks).toEqual([]);
});

test("what comes again before it is given back is not worked on", async () => {
  const { fabric, session, stream } = await join();
  stream.send(delivery("ASSIGNED", { taskId: "a" }));
  await nextTask(session);
  stream.send(HALT);
  await stream.said("release");
  fabric.cut();
  const again = await fabric.accept();
  await again.welcome({ owned: [{ taskId: "a", attempt: 1n }] });
  again.send(delivery("RETURNED", { taskId: "a" }));
  await again.said("ack");
  expect(session.tasks).toEqual([]);
  expect((await again.said("release")).value.taskId).toBe("a");
});

test("a claim whose end was said already is left to its answer", async () => {
  const { session, stream } = await join();
  stream.send(delivery("ASSIGNED", { taskId: "a" }));
  const task = await nextTask(session);
  const completing = task.complete();
  const said = await stream.said("complete");
  stream.send(HALT);
  stream.reply(said, { case: "task", value: { taskId: "a" } });
  await expect(completing).resolves.toMatchObject({ taskId: "a" });
  expect(stream.rest.filter((frame) => frame.frame.case === "release")).toEqual([]);
});
