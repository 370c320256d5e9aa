import { create } from "@bufbuild/protobuf";
import type { Clients } from "../clients.js";
import { FabricError } from "../errors.js";
import {
  type OpenSessionRequest,
  OpenSessionRequestSchema,
  type OpenSessionResponse,
} from "../gen/infrafabric/v1/coordinator_service_pb.js";
import type { OpenFrame } from "../gen/infrafabric/v1/session_client_pb.js";
import type { ClosingFrame, ServerFrame } from "../gen/infrafabric/v1/session_server_pb.js";
import { openingFrame } from "./frames.js";
import type { Outbox } from "./outbox.js";
import { leaseMs, Pulse } from "./pulse.js";

/** How a stream ended. */
export interface LinkEnd {
  /** What the server announced, if it did. */
  readonly closing: ClosingFrame | undefined;
  /** How the stream failed; undefined when it ended well. */
  readonly error: FabricError | undefined;
}

/** Who handles what comes in. */
export interface LinkListener {
  frame(frame: ServerFrame): void;
  cursor(cursor: string): void;
}

/** One stream, from its opening to its end. */
export class Link {
  readonly #abort = new AbortController();
  readonly #pulse: Pulse;
  #lastSequence: bigint | undefined;
  #closing: ClosingFrame | undefined;
  #failure: FabricError | undefined;
  #over = false;
  #wake: () => void = () => undefined;

  constructor(
    private readonly clients: Clients,
    private readonly outbox: Outbox,
    private readonly listener: LinkListener,
    random: () => number,
  ) {
    this.#pulse = new Pulse(
      () => this.outbox.note({ case: "heartbeat", value: {} }),
      (silence) => this.#cut(`nothing was heard from the fabric for ${silence} ms`),
      random,
    );
  }

  /** Something waits in the outbox. */
  wake(): void {
    this.#wake();
  }

  /**
   * Opens the stream and serves it until it ends, in whatever way.
   *
   * @param patienceMs - in which the welcome must come, in milliseconds
   * @throws what the listener throws: nothing that the network or the server did
   */
  async run(open: OpenFrame, patienceMs: number, signal: AbortSignal): Promise<LinkEnd> {
    const abort = () => this.#abort.abort(signal.reason);
    signal.addEventListener("abort", abort, { once: true });
    if (signal.aborted) abort();
    this.#pulse.await(patienceMs);
    try {
      await this.#serve(open);
    } finally {
      signal.removeEventListener("abort", abort);
      this.#over = true;
      this.#pulse.stop();
      this.outbox.cut();
      this.wake();
      this.clients.close();
    }
    return { closing: this.#closing, error: this.#failure };
  }

  async #serve(open: OpenFrame): Promise<void> {
    const responses = this.clients.coordinator
      .openSession(this.#requests(open), { signal: this.#abort.signal })
      [Symbol.asyncIterator]();
    for (;;) {
      const next = await responses.next().catch((error: unknown) => {
        this.#failure ??= FabricError.from(error);
      });
      if (next === undefined || next.done === true || this.#failure !== undefined) return;
      this.#receive(next.value);
    }
  }

  #receive(response: OpenSessionResponse): void {
    this.#pulse.heard();
    for (const frame of response.frames) {
      if (this.#lastSequence !== undefined && frame.sequence !== this.#lastSequence + 1n) {
        this.#cut(`frame ${frame.sequence} came after frame ${this.#lastSequence}`);
        return;
      }
      this.#lastSequence = frame.sequence;
      this.#handle(frame);
    }
    if (response.cursor !== "") this.listener.cursor(response.cursor);
  }

  #handle(message: ServerFrame): void {
    const { frame } = message;
    if (frame.case === "opened") {
      this.outbox.connected();
      this.#pulse.start(leaseMs(frame.value.lease));
    } else if (frame.case === "closing") {
      this.#closing = frame.value;
      this.#over = true;
      this.wake();
    }
    this.listener.frame(message);
  }

  /** All that waits, message by message; ends when the stream does. */
  async *#requests(open: OpenFrame): AsyncGenerator<OpenSessionRequest> {
    yield create(OpenSessionRequestSchema, { frames: [openingFrame(open)] });
    while (!this.#over) {
      const frames = this.outbox.online ? this.outbox.take() : [];
      if (frames.length > 0) yield create(OpenSessionRequestSchema, { frames });
      else await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }

  #cut(reason: string): void {
    this.#failure ??= FabricError.unanswered(reason);
    this.#abort.abort();
  }
}
