import type { JsonObject } from "@bufbuild/protobuf";
import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import { FabricError, TaskEndedError, TaskLostError } from "../errors.js";
import type { Blocker } from "../gen/infrafabric/v1/blocker_pb.js";
import { ErrorReason } from "../gen/infrafabric/v1/error_pb.js";
import {
  type CostReply,
  type ReplyFrame,
  RevokeReason,
  type TaskReply,
} from "../gen/infrafabric/v1/session_server_pb.js";
import type { Task } from "../gen/infrafabric/v1/task_pb.js";
import { FAILURE_KIND_BY_NAME, type FailureKindName, type Milestone } from "../names.js";
import type { Claim } from "./claims.js";
import { answerOf, type FrameBody } from "./frames.js";
import { optional } from "./promises.js";

/** What a handle needs of its session. */
export interface TaskChannel {
  /**
   * Says something and waits for the answer, however many cuts lie between.
   *
   * `onAnswer` runs before any later frame is handled, which what awaits the promise may not.
   */
  call(body: FrameBody, onAnswer: (reply: ReplyFrame) => void): Promise<ReplyFrame>;
  /** Says something that is replaced by the next report with the key; see `Session.status`. */
  report(key: string, body: FrameBody): Promise<ReplyFrame | undefined>;
  /** The claim was ended by its worker. */
  ended(): void;
  /** The claim is gone. */
  lost(error: TaskLostError): void;
  /** The claim gave up its slot or took it again. */
  slotChanged(): void;
}

/** What a worker adds to a milestone. */
export interface ProgressDetails {
  /** What the work waits for, at most 64 entries of at most 256 characters. */
  readonly blockedOn?: readonly string[];
  /** What comes next, at most 4096 characters. */
  readonly nextAction?: string;
}

/** How an attempt failed. */
export interface FailureDetails {
  /** Default: `retryable`. */
  readonly kind?: FailureKindName;
  /**
   * Not to be offered again before; by default the task's retry policy decides. For a failure of
   * the provider: when it has quota again.
   */
  readonly retryTime?: Date;
}

/** Answers that mean that the claim is gone. */
const LOST_REASONS: ReadonlySet<ErrorReason> = new Set([
  ErrorReason.STALE_ATTEMPT,
  ErrorReason.NOT_OWNER,
  ErrorReason.TASK_NOT_CLAIMED,
  ErrorReason.TASK_NOT_FOUND,
  ErrorReason.TASK_ENDED,
]);

/** One claim of this worker on one task. */
export class TaskHandle implements Claim {
  readonly #abort = new AbortController();
  #phase: "held" | "ending" | "ended" = "held";
  #parked: boolean;
  #onChange: (() => void)[] = [];

  /** Made by the session. */
  constructor(
    /** The task as it was delivered. */
    readonly task: Task,
    private readonly channel: TaskChannel,
  ) {
    this.#parked = task.parked;
  }

  /** Id of the task. */
  get taskId(): string {
    return this.task.taskId;
  }

  /** Number of the claim; another number means another claim. */
  get attempt(): bigint {
    return this.task.attempt;
  }

  /** What the creator of the task gave the worker. */
  get input(): JsonObject {
    return this.task.input ?? {};
  }

  /** Aborted when the claim is gone; `reason` is a `TaskLostError`, or `SessionEndedError`. */
  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  /** Whether a blocker keeps the task waiting; it takes up no slot meanwhile. */
  get parked(): boolean {
    return this.#parked;
  }

  /** Whether the worker has said how the task ended and waits for the answer. */
  get ending(): boolean {
    return this.#phase === "ending";
  }

  /**
   * Reports a milestone; need not be awaited.
   *
   * @param note - what was reached, at most 4096 characters
   * @returns the task's state; undefined as soon as the report waits for a connection
   * @throws FabricError when it is refused, TaskLostError when the claim is gone, TaskEndedError
   */
  progress(
    percent: Milestone,
    note = "",
    { blockedOn = [], nextAction = "" }: ProgressDetails = {},
  ): Promise<TaskReply | undefined> {
    const value = { ...this.#key, milestonePercent: percent, note, nextAction };
    return optional(
      this.#report({ case: "progress", value: { ...value, blockedOn: [...blockedOn] } }),
    );
  }

  /**
   * Completes the task. Waits for the answer through cuts of the connection.
   *
   * @param result - what was produced, at most 256 KiB as JSON
   * @param costMicros - what the attempt cost altogether, in micro-US-dollars; what `cost` has
   *   reported of it is not charged again
   * @throws FabricError, TaskLostError, TaskEndedError, SessionEndedError
   */
  async complete(result: JsonObject = {}, costMicros: bigint | number = 0): Promise<TaskReply> {
    return this.#finish({
      case: "complete",
      value: { ...this.#key, result, costMicros: BigInt(costMicros) },
    });
  }

  /**
   * Reports what something cost while the task runs; charged once, through cuts too.
   *
   * @param operation - what for, such as `llm.completion`
   * @param costMicros - how much, in micro-US-dollars, 1 to 10^12
   * @returns what the swarm's account and the task's reservation have left
   * @throws FabricError, TaskLostError, TaskEndedError, SessionEndedError
   */
  async cost(operation: string, costMicros: bigint | number): Promise<CostReply> {
    this.#requireHeld();
    const value = { ...this.#key, operation, costMicros: BigInt(costMicros) };
    const answer = this.channel.call({ case: "cost", value }, () => undefined);
    return answerOf(await this.#losing(answer), "cost");
  }

  /**
   * Ends the attempt as failed; the task's retry policy decides what follows.
   *
   * @param reason - why, at most 4096 characters
   * @throws as `complete`
   */
  fail(reason: string, { kind = "retryable", retryTime }: FailureDetails = {}): Promise<TaskReply> {
    const value = { ...this.#key, reason, kind: FAILURE_KIND_BY_NAME[kind] };
    return this.#finish({
      case: "fail",
      value: retryTime ? { ...value, retryTime: timestampFromDate(retryTime) } : value,
    });
  }

  /**
   * Gives the task back for others to do.
   *
   * @param reason - why, at most 4096 characters
   * @throws as `complete`
   */
  release(reason = ""): Promise<TaskReply> {
    return this.#finish({ case: "release", value: { ...this.#key, reason } });
  }

  /**
   * Tells the orchestrator that the task cannot go on, and parks it: the claim and its lease
   * stay, the slot is free. `unblocked` waits for the end of it.
   *
   * @param description - what is wrong, 1 to 4096 characters
   * @param needs - capabilities that would help, at most 64
   * @throws FabricError, TaskLostError, TaskEndedError, SessionEndedError
   */
  async block(description: string, needs: readonly string[] = []): Promise<Blocker> {
    this.#requireHeld();
    const value = { ...this.#key, description, needs: [...needs] };
    const answer = this.channel.call({ case: "blocker", value }, (reply) => {
      // Otherwise it was reported and resolved while the connection was cut.
      this.setParked(answerOf(reply, "blocker").resolveTime === undefined);
    });
    return answerOf(await this.#losing(answer), "blocker");
  }

  /**
   * Waits until the task is not parked, because its blocker was resolved.
   *
   * @throws TaskLostError, SessionEndedError
   */
  async unblocked(): Promise<void> {
    while (this.#parked) {
      this.signal.throwIfAborted();
      await new Promise<void>((resolve) => {
        this.#onChange = [...this.#onChange, resolve];
      });
    }
    this.signal.throwIfAborted();
  }

  /** For the session: brings `parked` up to date. */
  setParked(parked: boolean): void {
    if (this.#parked === parked) return;
    this.#parked = parked;
    this.channel.slotChanged();
    this.#changed();
  }

  /** For the session: the claim is gone. */
  abort(reason: Error): void {
    this.#abort.abort(reason);
    this.#changed();
  }

  #changed(): void {
    const waiting = this.#onChange;
    this.#onChange = [];
    for (const resolve of waiting) resolve();
  }

  get #key() {
    return { taskId: this.taskId, attempt: this.attempt };
  }

  #requireHeld(): void {
    this.signal.throwIfAborted();
    if (this.#phase !== "held") throw new TaskEndedError(this.taskId);
  }

  async #report(body: FrameBody): Promise<TaskReply | undefined> {
    this.#requireHeld();
    const key = `progress ${this.taskId} ${this.attempt}`;
    const reply = await this.#losing(this.channel.report(key, body));
    return reply && answerOf(reply, "task");
  }

  async #finish(body: FrameBody): Promise<TaskReply> {
    this.#requireHeld();
    this.#phase = "ending";
    try {
      const answer = this.channel.call(body, () => {
        this.#phase = "ended";
        this.channel.ended();
        this.setParked(false);
      });
      return answerOf(await this.#losing(answer), "task");
    } finally {
      // What was refused for its content may be said better.
      if (this.ending) this.#phase = "held";
    }
  }

  /** Takes an answer that the claim is gone for what it is. */
  async #losing<T>(answer: Promise<T>): Promise<T> {
    try {
      return await answer;
    } catch (error) {
      if (error instanceof FabricError && LOST_REASONS.has(error.reason)) {
        const lost = new TaskLostError(
          this.taskId,
          this.attempt,
          RevokeReason.UNSPECIFIED,
          error.message,
          { cause: error },
        );
        this.channel.lost(lost);
        throw lost;
      }
      throw error;
    }
  }
}
