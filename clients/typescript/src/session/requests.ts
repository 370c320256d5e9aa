import { FabricError } from "../errors.js";
import type { ReplyFrame } from "../gen/infrafabric/v1/session_server_pb.js";
import { backoffMs } from "./backoff.js";
import type { FrameBody } from "./frames.js";
import type { Outbox, Request } from "./outbox.js";
import { sleep } from "./promises.js";

type Hooks = Pick<Request, "key" | "onBuffered" | "unlimited"> & {
  readonly onAnswer?: (reply: ReplyFrame) => void;
  /** Whether a repeat still makes sense after the fabric asked for patience. */
  readonly wanted?: () => boolean;
};

/** Frames with answers as promises: repeats those that the fabric could not decide just now. */
export class Requests {
  readonly #newest = new Map<string, string>();
  #count = 0;

  /**
   * @param prefix - makes the request ids of this session unlike those of any other
   * @param signal - aborted when no answer will come any more
   */
  constructor(
    private readonly outbox: Outbox,
    private readonly prefix: string,
    private readonly random: () => number,
    private readonly signal: AbortSignal,
  ) {}

  /**
   * Says something and waits for the answer, through cuts and while the fabric asks for patience.
   *
   * @param onAnswer - called with the answer before any later frame is handled
   * @throws FabricError when it is refused, SessionEndedError when the session ends before,
   *   BufferFullError when too much waits
   */
  call(body: FrameBody, onAnswer?: (reply: ReplyFrame) => void): Promise<ReplyFrame> {
    return this.#repeat(this.#nextId(), body, onAnswer === undefined ? {} : { onAnswer });
  }

  /** Says that the session ends; throws as `call`, but goes however much waits. */
  goodbye(reason: string): Promise<ReplyFrame> {
    const body = { case: "close", value: { reason } } as const;
    return this.#repeat(this.#nextId(), body, { unlimited: true });
  }

  /**
   * Says something that only the newest of matters, and that nobody should have to wait for.
   *
   * @param key - while there is no connection, only the newest report of a key is kept
   * @returns the answer; undefined as soon as the report waits for a connection or for the fabric
   * @throws as `call`
   */
  report(key: string, body: FrameBody): Promise<ReplyFrame | undefined> {
    const id = this.#nextId();
    this.#newest.set(key, id);
    const newest = () => this.#newest.get(key) === id;
    return new Promise((resolve, reject) => {
      const onBuffered = () => resolve(undefined);
      this.#repeat(id, body, { key, onBuffered, wanted: newest })
        .finally(() => newest() && this.#newest.delete(key))
        .then(resolve, reject);
    });
  }

  async #repeat(id: string, body: FrameBody, hooks: Hooks): Promise<ReplyFrame> {
    for (let failures = 0; ; failures += 1) {
      const again = failures > 0 ? { ...hooks, unlimited: true } : hooks;
      const reply = await this.#exchange(id, body, again);
      if (reply.result.case !== "error") return reply;
      const error = FabricError.fromStatus(reply.result.value);
      if (error.retryAfterMs === undefined) throw error;
      hooks.onBuffered?.();
      await sleep(backoffMs(failures, this.random, error.retryAfterMs), this.signal);
      if (hooks.wanted?.() === false) throw error;
    }
  }

  #exchange(id: string, body: FrameBody, hooks: Hooks): Promise<ReplyFrame> {
    this.signal.throwIfAborted();
    return new Promise((resolve, reject) => {
      const settle = (outcome: ReplyFrame | Error) => {
        if (outcome instanceof Error) {
          reject(outcome);
          return;
        }
        if (outcome.result.case !== "error") hooks.onAnswer?.(outcome);
        resolve(outcome);
      };
      this.outbox.push({ ...hooks, id, body, settle });
    });
  }

  #nextId(): string {
    this.#count += 1;
    return `${this.prefix}-${this.#count}`;
  }
}
