import { BufferFullError } from "../errors.js";
import type { ClientFrame } from "../gen/infrafabric/v1/session_client_pb.js";
import type { ReplyFrame } from "../gen/infrafabric/v1/session_server_pb.js";
import {
  clientFrame,
  type FrameBody,
  MAX_BATCH_BYTES,
  MAX_BATCH_FRAMES,
  sizeOf,
} from "./frames.js";

/** A frame that wants an answer. */
export interface Request {
  /** Unique among the frames of the session. */
  readonly id: string;
  readonly body: FrameBody;
  /** While there is no connection, a request replaces an older one with the same key. */
  readonly key?: string;
  /** Called at most once: with the reply, or with the error that no reply will come. */
  readonly settle: (outcome: ReplyFrame | Error) => void;
  /** Called whenever the frame begins to wait for a connection. */
  readonly onBuffered?: (() => void) | undefined;
  /** Goes whatever waits: a repeat, which had its place before, or a goodbye, the last of all. */
  readonly unlimited?: boolean;
}

interface Entry {
  readonly request: Request;
  readonly frame: ClientFrame;
  readonly bytes: number;
}

/** How much may wait for an answer. */
export interface OutboxLimits {
  readonly frames: number;
  readonly bytes: number;
}

/** The most task frames that one credit frame allows; the contract's limit. */
const MAX_CREDIT = 1000;

/**
 * What the client has to say: a queue in order, and the window of what was said but not answered.
 *
 * A request stays here until its answer comes. After a cut all that is unanswered is said again,
 * in its order and with the same ids; notes (acknowledgements, heartbeats, credit) belong to their
 * stream and are forgotten with it.
 */
export class Outbox {
  #waiting: Entry[] = [];
  readonly #sent = new Map<string, Entry>();
  #notes: ClientFrame[] = [];
  #credit = 0;
  #bytes = 0;
  #online = false;

  constructor(
    private readonly limits: OutboxLimits,
    private readonly onWork: () => void,
  ) {}

  /** Whether a stream is open to say things on. */
  get online(): boolean {
    return this.#online;
  }

  /** How many requests have no answer yet. */
  get unanswered(): number {
    return this.#waiting.length + this.#sent.size;
  }

  /**
   * Adds a request.
   *
   * @throws BufferFullError when too much is unanswered already.
   */
  push(request: Request): void {
    const frame = clientFrame(request.body, request.id);
    const bytes = sizeOf(frame);
    if (!this.#online && request.key !== undefined) this.#supersede(request.key);
    const { frames: most, bytes: mostBytes } = this.limits;
    const full = this.unanswered >= most || this.#bytes + bytes > mostBytes;
    if (full && !request.unlimited) {
      throw new BufferFullError(
        `${this.unanswered} frames (${this.#bytes} bytes) wait for an answer; at most ` +
          `${most} (${mostBytes} bytes) may: wait for some of them first`,
      );
    }
    this.#bytes += bytes;
    this.#waiting.push({ request, frame, bytes });
    if (this.#online) this.onWork();
    else request.onBuffered?.();
  }

  /** Adds a frame that wants no answer and makes sense on this stream only. */
  note(body: FrameBody): void {
    if (!this.#online) return;
    this.#notes.push(clientFrame(body));
    this.onWork();
  }

  /** Allows the server to send so many task frames more. */
  addCredit(tasks: number): void {
    if (!this.#online) return;
    this.#credit += tasks;
    this.onWork();
  }

  /** Takes what one message carries of what waits; empty when nothing waits. */
  take(): ClientFrame[] {
    const batch = this.#notes.splice(0, MAX_BATCH_FRAMES - 1);
    if (this.#credit > 0) {
      const tasks = Math.min(this.#credit, MAX_CREDIT);
      this.#credit -= tasks;
      batch.push(clientFrame({ case: "credit", value: { tasks } }));
    }
    let bytes = 0;
    let taken = 0;
    for (const entry of this.#waiting) {
      bytes += entry.bytes;
      const full = batch.length >= MAX_BATCH_FRAMES || bytes > MAX_BATCH_BYTES;
      // A frame that is too big for any batch still has to go, alone.
      if (full && batch.length > 0) break;
      batch.push(entry.frame);
      this.#sent.set(entry.request.id, entry);
      taken += 1;
    }
    this.#waiting.splice(0, taken);
    return batch;
  }

  /** Settles the request that a reply answers; tells whether there was one. */
  answer(reply: ReplyFrame): boolean {
    const entry = this.#sent.get(reply.requestId);
    if (entry === undefined) return false;
    this.#sent.delete(reply.requestId);
    this.#bytes -= entry.bytes;
    entry.request.settle(reply);
    return true;
  }

  /** A stream is open: what waits may go. */
  connected(): void {
    this.#online = true;
    this.onWork();
  }

  /** The stream is gone: what is unanswered waits again, of each key only the newest. */
  cut(): void {
    if (!this.#online) return;
    this.#online = false;
    this.#notes = [];
    this.#credit = 0;
    const unanswered = [...this.#sent.values(), ...this.#waiting];
    this.#sent.clear();
    this.#waiting = [];
    for (const entry of unanswered) {
      if (entry.request.key !== undefined) this.#supersede(entry.request.key);
      this.#waiting.push(entry);
      entry.request.onBuffered?.();
    }
  }

  /** No answer will come any more. */
  fail(error: Error): void {
    const entries = [...this.#sent.values(), ...this.#waiting];
    this.#sent.clear();
    this.#waiting = [];
    this.#bytes = 0;
    for (const entry of entries) entry.request.settle(error);
  }

  #supersede(key: string): void {
    const index = this.#waiting.findIndex((entry) => entry.request.key === key);
    const [older] = index < 0 ? [] : this.#waiting.splice(index, 1);
    if (older === undefined) return;
    this.#bytes -= older.bytes;
    older.request.settle(new Error("a newer report took its place"));
  }
}
