import { randomUUID } from "node:crypto";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { FabricError, SessionEndedError } from "../errors.js";
import type { HaltFrame } from "../gen/infrafabric/v1/governor_breaker_pb.js";
import type {
  ClaimReply,
  CostReply,
  OpenedFrame,
  ServerFrame,
  StatusReply,
} from "../gen/infrafabric/v1/session_server_pb.js";
import type { TaskSchema } from "../gen/infrafabric/v1/task_pb.js";
import { STATUS_BY_NAME, type StatusName } from "../names.js";
import { Connector } from "./connector.js";
import { answerOf } from "./frames.js";
import type { TaskHandle } from "./handle.js";
import { Intake } from "./intake.js";
import { openFrame, type SessionOptions } from "./options.js";
import { Outbox } from "./outbox.js";
import { callHook, Deferred, optional, throwLater } from "./promises.js";
import { Requests } from "./requests.js";

/** What a status is about. */
export interface StatusDetails {
  /** Task that it is about: an id or free text of at most 256 characters. */
  readonly task?: string;
  /** Why it is blocked or what help it wants, at most 4096 characters. */
  readonly message?: string;
  /** Capabilities that would help, at most 64. */
  readonly needs?: readonly string[];
  /** Running total of what this process spent, in micro-US-dollars. */
  readonly costSpentMicros?: bigint | number;
}

/** What a cost of the swarm was for. */
export interface CostDetails {
  /** Request for help that it helped with, whose task is charged. */
  readonly helpId?: string;
}

/** A task to create; only its `input` and what is not the default need be given. */
export type NewTask = MessageInitShape<typeof TaskSchema>;

const DEFAULT_MAX_UNANSWERED = 1_000;
/** Room for a result of the largest size on each of the 64 slots, several times over. */
const MAX_UNANSWERED_BYTES = 64 * 1024 * 1024;
const DEFAULT_OPEN_TIMEOUT_MS = 10_000;
const DEFAULT_CLOSE_TIMEOUT_MS = 5_000;

/**
 * One live connection of a swarm, kept alive through cuts and restarts of the fabric.
 *
 * Iterate over it to get work: each claimed task comes exactly once, to one of the iterations.
 * The iteration ends after `close`, and throws SessionEndedError when the fabric ends the session.
 */
export class Session implements AsyncIterable<TaskHandle>, AsyncDisposable {
  readonly #over = new AbortController();
  readonly #opened = new Deferred();
  readonly #ended = new Deferred();
  readonly #outbox: Outbox;
  readonly #requests: Requests;
  readonly #intake: Intake;
  readonly #connector: Connector;
  readonly #running: Promise<void>;
  #closing: Promise<void> | undefined;
  #epoch = 0n;

  private constructor(private readonly options: SessionOptions) {
    const random = options.random ?? Math.random;
    const limits = {
      frames: options.maxUnanswered ?? DEFAULT_MAX_UNANSWERED,
      bytes: MAX_UNANSWERED_BYTES,
    };
    this.#outbox = new Outbox(limits, () => this.#connector.wake());
    this.#requests = new Requests(this.#outbox, randomUUID(), random, this.#over.signal);
    this.#intake = new Intake(this.#outbox, this.#requests, options, throwLater);
    this.#connector = new Connector(
      options,
      this.#outbox,
      {
        greet: (resume) => openFrame(options, resume, this.#intake.opening()),
        frame: (frame) => this.#receive(frame),
        disconnected: (...how) => this.#disconnected(...how),
      },
      random,
    );
    const close = () => void this.close("the program was asked to stop");
    options.signal?.addEventListener("abort", close, { signal: this.#over.signal });
    this.#running = this.#connector.run(this.#over.signal).catch((error) => this.#end(error));
  }

  /**
   * Opens a session and waits for its welcome.
   *
   * @throws FabricError when the fabric refuses it or gives no welcome in time, SessionEndedError
   *   when its signal is aborted before
   */
  static async open(options: SessionOptions): Promise<Session> {
    const session = new Session(options);
    const timeoutMs = options.openTimeoutMs ?? DEFAULT_OPEN_TIMEOUT_MS;
    const timer = setTimeout(() => session.#end(session.#unwelcome(timeoutMs)), timeoutMs);
    try {
      if (options.signal?.aborted) void session.close();
      await session.#opened.promise;
      return session;
    } finally {
      clearTimeout(timer);
    }
  }

  /** Id of the swarm. */
  get swarmId(): string {
    return this.options.swarmId;
  }

  /** Number of this session of the swarm; rises with each connection. */
  get epoch(): bigint {
    return this.#epoch;
  }

  /** Whether the fabric can be heard now. */
  get connected(): boolean {
    return this.#outbox.online;
  }

  /** Whether it was asked to close: what it holds is going back, or has gone. */
  get closing(): boolean {
    return this.#closing !== undefined;
  }

  /** All claims that are held, oldest first, those included that no consumer took yet. */
  get tasks(): readonly TaskHandle[] {
    return this.#intake.held;
  }

  /** Resolves after `close`; throws SessionEndedError when the fabric ends the session. */
  get ended(): Promise<void> {
    return this.#ended.promise;
  }

  /** Waits for tasks; several iterations share them. */
  [Symbol.asyncIterator](): AsyncIterator<TaskHandle, undefined> {
    return { next: () => this.#intake.queue.next() };
  }

  /**
   * Reports what the swarm is doing; need not be awaited.
   *
   * Without a connection the last status is kept, and sent when there is one again.
   *
   * @returns the answer; undefined as soon as the report waits for a connection
   * @throws FabricError when it is refused, SessionEndedError
   */
  status(status: StatusName, details: StatusDetails = {}): Promise<StatusReply | undefined> {
    const { task = "", message = "", needs = [], costSpentMicros = 0 } = details;
    const value = {
      status: STATUS_BY_NAME[status],
      taskId: task,
      message,
      needs: [...needs],
      costSpentMicros: BigInt(costSpentMicros),
    };
    const reply = this.#requests.report("status", { case: "status", value });
    return optional(reply.then((answer) => answer && answerOf(answer, "status")));
  }

  /**
   * Claims a task for this session. Losing is an answer; a task that is won comes by iteration.
   *
   * @throws FabricError, SessionEndedError, BufferFullError
   */
  claim(taskId: string): Promise<ClaimReply> {
    return this.#intake.claim(taskId);
  }

  /**
   * Creates tasks, all or none; a repeat after a cut creates nothing twice.
   *
   * @param tasks - 1 to 1000, at most 3 MiB together
   * @returns their ids, in order
   * @throws FabricError, SessionEndedError, BufferFullError
   */
  async create(tasks: readonly NewTask[]): Promise<string[]> {
    const reply = await this.#requests.call({ case: "create", value: { tasks: [...tasks] } });
    return answerOf(reply, "create").taskIds;
  }

  /**
   * Reports a cost of the swarm itself, or of its help; charged once, through cuts too. For a task
   * that is held, use `TaskHandle.cost`.
   *
   * @param operation - what for, such as `llm.completion`
   * @param costMicros - how much, in micro-US-dollars, 1 to 10^12
   * @returns what the swarm's account has left, and with a request what all its helpers have
   * @throws FabricError, SessionEndedError, BufferFullError
   */
  async cost(
    operation: string,
    costMicros: bigint | number,
    { helpId = "" }: CostDetails = {},
  ): Promise<CostReply> {
    const value = { operation, costMicros: BigInt(costMicros), helpId };
    return answerOf(await this.#requests.call({ case: "cost", value }), "cost");
  }

  /**
   * Says what is left to say and ends the session: what it holds goes back at once. Never throws.
   *
   * @param reason - why, for the log, at most 256 characters
   * @param timeoutMs - how long to wait for the fabric, in milliseconds
   */
  close(reason = "", timeoutMs = DEFAULT_CLOSE_TIMEOUT_MS): Promise<void> {
    this.#closing ??= this.#close(reason, timeoutMs);
    return this.#closing;
  }

  /** Closes the session. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(reason: string, timeoutMs: number): Promise<void> {
    if (this.connected || this.#outbox.unanswered > 0) {
      const timer = setTimeout(() => this.#end(), timeoutMs);
      // It fails only when the session is over, which is what is wanted.
      await this.#requests.goodbye(reason).catch(() => undefined);
      clearTimeout(timer);
    }
    this.#end();
    await this.#running;
  }

  #receive({ frame }: ServerFrame): void {
    if (frame.case === "task") this.#intake.task(frame.value);
    else if (frame.case === "reply") this.#outbox.answer(frame.value);
    else if (frame.case === "revoked") this.#intake.revoked(frame.value);
    else if (frame.case === "heartbeat") this.#intake.reconcile(frame.value.owned);
    else if (frame.case === "broadcast") callHook(this.options.onBroadcast, frame.value);
    else if (frame.case === "opened") this.#welcomed(frame.value);
    else if (frame.case === "halt") this.#halted(frame.value);
    else this.#news(frame);
  }

  #news(frame: ServerFrame["frame"]): void {
    const { onAlert, onHelpWanted } = this.options;
    if (frame.case === "blockerAlert" && frame.value.blocker)
      callHook(onAlert, frame.value.blocker);
    if (frame.case === "helpWanted" && frame.value.help) callHook(onHelpWanted, frame.value.help);
  }

  #halted(halt: HaltFrame): void {
    this.#intake.halt(halt.breaker?.detail ?? "");
    callHook(this.options.onHalt, halt);
  }

  #welcomed({ sessionEpoch, resumed, owned }: OpenedFrame): void {
    this.#epoch = sessionEpoch;
    this.#intake.opened(owned);
    this.#opened.resolve();
    callHook(this.options.onConnection, { connected: true, resumed, epoch: sessionEpoch });
  }

  #disconnected(error: FabricError | undefined, restart: boolean, retryInMs: number): void {
    if (restart) this.#intake.loseAll("the fabric asked for a new start");
    callHook(this.options.onConnection, { connected: false, error, retryInMs });
    // A stream that ended well with only the goodbye unanswered: that was the answer.
    if (this.#closing && error === undefined && this.#outbox.unanswered <= 1) this.#end();
  }

  #unwelcome(timeoutMs: number): FabricError {
    const { lastError } = this.#connector;
    if (lastError?.unreachable === false) return lastError;
    const why = lastError?.message ?? "no connection";
    return FabricError.unanswered(`the fabric did not answer within ${timeoutMs} ms: ${why}`);
  }

  #end(error?: Error): void {
    if (this.#over.signal.aborted) return;
    const failure = this.#closing === undefined ? error : undefined;
    const reason = failure ?? new SessionEndedError("the session was closed");
    this.#over.abort(reason);
    this.#outbox.fail(reason);
    this.#intake.end(reason, failure);
    this.#opened.reject(reason.cause instanceof FabricError ? reason.cause : reason);
    if (failure === undefined) this.#ended.resolve();
    else this.#ended.reject(failure);
  }
}
