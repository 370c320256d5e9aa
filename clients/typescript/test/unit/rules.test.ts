import { create } from "@bufbuild/protobuf";
import { anyPack, durationFromMs } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError } from "@connectrpc/connect";
import { expect, test } from "vitest";
import { ErrorInfoSchema, RetryInfoSchema } from "../../src/gen/google/rpc/error_details_pb.js";
import {
  ClosingAction,
  ErrorReason,
  FabricError,
  ReplyFrameSchema,
  TaskSchema,
} from "../../src/index.js";
import { backoffMs } from "../../src/session/backoff.js";
import { Credit } from "../../src/session/credit.js";
import { afterStream } from "../../src/session/endings.js";
import { answerOf } from "../../src/session/frames.js";
import { Offers } from "../../src/session/offers.js";
import { openFrame, windowOf } from "../../src/session/options.js";
import { refusal } from "../support/refusal.js";

test("backoff doubles up to five seconds, and jitter takes any part of it", () => {
  const longest = [0, 1, 2, 5, 6, 60].map((failures) => backoffMs(failures, () => 1));
  expect(longest).toEqual([100, 200, 400, 3_200, 5_000, 5_000]);
  expect(backoffMs(6, () => 0)).toBe(0);
  expect(backoffMs(6, () => 0.5)).toBe(2_500);
});

test("backoff keeps to a shorter limit when one is given", () => {
  expect(backoffMs(60, () => 1, 50, 1_000)).toBe(1_050);
});

test("backoff never undercuts what the server asked for", () => {
  expect(backoffMs(0, () => 0, 750)).toBe(750);
  expect(backoffMs(0, () => 1, 750)).toBe(850);
});

const { RESUME, RESTART, STOP } = ClosingAction;
const fenced = refusal(ErrorReason.SESSION_FENCED, Code.Aborted);
const expired = refusal(ErrorReason.SESSION_EXPIRED, Code.Aborted);
const overflow = refusal(ErrorReason.QUEUE_OVERFLOW, Code.ResourceExhausted);
const draining = refusal(ErrorReason.DRAINING, Code.Unavailable, 100);

test.each([
  ["a cut", undefined, FabricError.unanswered("cut"), "resume"],
  ["an end without a word", undefined, undefined, "resume"],
  ["RESUME", RESUME, undefined, "resume"],
  ["RESTART", RESTART, undefined, "restart"],
  ["STOP", STOP, undefined, "stop"],
  ["STOP and a cut", STOP, FabricError.unanswered("cut"), "stop"],
  ["RESTART and a cut", RESTART, FabricError.unanswered("cut"), "restart"],
  ["fenced", undefined, fenced, "stop"],
  ["fenced after RESUME", RESUME, fenced, "stop"],
  ["expired", undefined, expired, "restart"],
  ["expired after RESUME", RESUME, expired, "restart"],
  ["overflow", RESUME, overflow, "resume"],
  ["draining", undefined, draining, "resume"],
  ["limit", undefined, refusal(ErrorReason.LIMIT_REACHED, Code.ResourceExhausted), "stop"],
  ["bad field", undefined, refusal(ErrorReason.INVALID_FIELD, Code.InvalidArgument), "stop"],
  ["protocol", undefined, refusal(ErrorReason.SESSION_PROTOCOL, Code.FailedPrecondition), "stop"],
  ["no fabric there", undefined, FabricError.from(new ConnectError("", Code.NotFound)), "resume"],
] as const)("what follows the end of a stream: %s", (_, closing, error, next) => {
  expect(afterStream(closing, error)).toBe(next);
});

test("credit: what there is room for, and no more than may still be taken", () => {
  const demand = { window: 4, waiting: 0, remaining: Number.POSITIVE_INFINITY, returning: 0 };
  const credit = new Credit();
  expect(credit.open(demand)).toBe(4);
  credit.used();
  expect(credit.topUp({ ...demand, waiting: 1 })).toBe(0);
  expect(credit.topUp(demand)).toBe(1);
  expect(credit.topUp(demand)).toBe(0);
  expect(credit.open({ ...demand, waiting: 3 })).toBe(1);
  expect(credit.open({ ...demand, waiting: 9 })).toBe(0);
  expect(credit.open({ ...demand, remaining: 1 })).toBe(1);
  credit.used();
  expect(credit.topUp({ ...demand, remaining: 0 })).toBe(0);
  expect(credit.open({ ...demand, remaining: 0, returning: 2 })).toBe(2);
  expect(credit.open({ ...demand, waiting: 4 })).toBe(0);
  credit.used();
  expect(credit.topUp(demand)).toBe(4);
});

test("offers: the highest priority first, the older one among equals", () => {
  const offers = new Offers();
  const add = (taskId: string, priority: number) =>
    offers.add(create(TaskSchema, { taskId, priority }));
  add("low", -1);
  add("first", 5);
  add("second", 5);
  const order = [offers.takeBest(), offers.takeBest(), offers.takeBest(), offers.takeBest()];
  expect(order.map((task) => task?.taskId)).toEqual(["first", "second", "low", undefined]);
});

test("offers: at most 64 are kept, the newest", () => {
  const offers = new Offers();
  for (let n = 0; n < 70; n += 1) offers.add(create(TaskSchema, { taskId: `t${n}` }));
  expect(offers.takeBest()?.taskId).toBe("t6");
});

test("the opening says what is given and leaves the rest as it is registered", () => {
  const bare = openFrame({ swarmId: "s" }, { token: "", after: "" }, 8);
  expect(bare).toMatchObject({ swarmId: "s", capabilities: [], slots: 1, credit: 8, model: "" });
  expect(bare.costPerHourMicros).toBeUndefined();
  const full = openFrame(
    { swarmId: "s", slots: 6, costPerHourMicros: 0, model: "m", role: "orchestrator" },
    { token: "t", after: "c" },
    12,
  );
  expect(full).toMatchObject({ slots: 6, credit: 12, role: 2, costPerHourMicros: 0n });
  expect(full).toMatchObject({ resumeToken: "t", resumeAfter: "c", model: "m" });
});

test("the window is two tasks per slot and at least eight, unless it is given", () => {
  expect([windowOf({}), windowOf({ slots: 6 }), windowOf({ window: 1, slots: 6 })]).toEqual([
    8, 12, 1,
  ]);
});

test("a reply of another kind than was asked for is an error that names both", () => {
  const reply = create(ReplyFrameSchema, {
    requestId: "r1",
    result: { case: "accepted", value: {} },
  });
  expect(answerOf(reply, "accepted")).toBe(reply.result.value);
  expect(() => answerOf(reply, "claim")).toThrow("expected a claim reply to r1, got accepted");
});

test("an error in band is read like the error of a call", () => {
  const error = FabricError.fromStatus({
    $typeName: "google.rpc.Status",
    code: Code.Unavailable,
    message: "the store is away",
    details: [
      anyPack(
        ErrorInfoSchema,
        create(ErrorInfoSchema, {
          domain: "infrafabric",
          reason: "ERROR_REASON_STORE_UNAVAILABLE",
        }),
      ),
      anyPack(RetryInfoSchema, create(RetryInfoSchema, { retryDelay: durationFromMs(250) })),
    ],
  });
  expect(error).toMatchObject({ reason: ErrorReason.STORE_UNAVAILABLE, retryAfterMs: 250 });
  expect(error.unreachable).toBe(false);
});

test("the details of another domain are not the fabric's answer", () => {
  const error = FabricError.from(
    new ConnectError("no", Code.Unavailable, undefined, [
      { desc: ErrorInfoSchema, value: { domain: "elsewhere", reason: "ERROR_REASON_DRAINING" } },
    ]),
  );
  expect(error.reason).toBe(ErrorReason.UNSPECIFIED);
  expect(error.unreachable).toBe(true);
});

test("a bad request names its fields", () => {
  const error = refusal(ErrorReason.INVALID_FIELD, Code.InvalidArgument, undefined, [
    { field: "task.title", description: "must have at most 256 characters" },
  ]);
  expect(error.fields).toEqual([
    { field: "task.title", description: "must have at most 256 characters" },
  ]);
  expect(error.retryAfterMs).toBeUndefined();
});
