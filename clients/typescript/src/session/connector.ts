import { Turns } from "../addresses.js";
import { type Clients, type ConnectionOptions, createClients, urlsOf } from "../clients.js";
import { type FabricError, SessionEndedError } from "../errors.js";
import type { OpenFrame } from "../gen/infrafabric/v1/session_client_pb.js";
import { ClosingAction, type ServerFrame } from "../gen/infrafabric/v1/session_server_pb.js";
import { backoffMs, MAX_BACKOFF_MS } from "./backoff.js";
import { afterStream } from "./endings.js";
import { Link, type LinkEnd } from "./link.js";
import type { ResumeState } from "./options.js";
import type { Outbox } from "./outbox.js";
import { sleep } from "./promises.js";
import { leaseMs } from "./pulse.js";

/** A stream that lived this long, in milliseconds, shows that connecting helps: backoff restarts. */
const STABLE_MS = 1_000;

/** Who handles what comes in, on whatever stream. */
export interface ConnectorListener {
  /** A stream is about to open: returns what to open it with. */
  greet(resume: ResumeState): OpenFrame;
  frame(frame: ServerFrame): void;
  /** A stream ended and another one follows; `restart` says that the claims are void. */
  disconnected(error: FabricError | undefined, restart: boolean, retryInMs: number): void;
}

/** Keeps one stream open: reconnects, to the next server, and resumes where the last one was. */
export class Connector {
  #link: Link | undefined;
  #resume: ResumeState = { token: "", after: "" };
  #failures = 0;
  #openedAt = Number.POSITIVE_INFINITY;
  /** The longest that one step of connecting may take, in milliseconds. */
  #patienceMs = MAX_BACKOFF_MS;
  #lastError: FabricError | undefined;
  readonly #turns: Turns<string>;

  constructor(
    private readonly options: ConnectionOptions,
    private readonly outbox: Outbox,
    private readonly listener: ConnectorListener,
    private readonly random: () => number,
  ) {
    this.#turns = new Turns(urlsOf(options), random);
  }

  /** How the last stream failed. */
  get lastError(): FabricError | undefined {
    return this.#lastError;
  }

  /** Something waits in the outbox. */
  wake(): void {
    this.#link?.wake();
  }

  /**
   * Serves stream after stream until the signal is aborted.
   *
   * @throws SessionEndedError when the server says that another stream is of no use
   */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const url = this.#turns.current;
      const end = await this.#serve(createClients({ ...this.options, url }), signal);
      // Whatever ended the stream, the next server is as good.
      this.#turns.leave(url);
      if (signal.aborted) return;
      const step = afterStream(end.closing?.action, end.error);
      if (step === "stop") throw stopped(end);
      if (step === "restart") this.#resume = { ...this.#resume, token: "" };
      const delay = backoffMs(
        this.#failures,
        this.random,
        end.error?.retryAfterMs,
        this.#patienceMs,
      );
      this.#failures += 1;
      this.#lastError = end.error ?? this.#lastError;
      const restart = end.closing?.action === ClosingAction.RESTART;
      this.listener.disconnected(end.error, restart, delay);
      await sleep(delay, signal).catch(() => undefined);
    }
  }

  async #serve(clients: Clients, signal: AbortSignal): Promise<LinkEnd> {
    const listener = {
      frame: (frame: ServerFrame) => this.#frame(frame),
      cursor: (after: string) => {
        this.#resume = { ...this.#resume, after };
      },
    };
    this.#openedAt = Number.POSITIVE_INFINITY;
    this.#link = new Link(clients, this.outbox, listener, this.random);
    try {
      const open = this.listener.greet(this.#resume);
      return await this.#link.run(open, this.#patienceMs, signal);
    } finally {
      this.#link = undefined;
      if (performance.now() - this.#openedAt > STABLE_MS) this.#failures = 0;
    }
  }

  #frame(message: ServerFrame): void {
    if (message.frame.case === "opened") {
      const { resumeToken, lease } = message.frame.value;
      this.#openedAt = performance.now();
      this.#resume = { ...this.#resume, token: resumeToken };
      // A longer one might outlast a short lease, and with it the claims.
      this.#patienceMs = Math.min(MAX_BACKOFF_MS, leaseMs(lease) / 3);
    }
    this.listener.frame(message);
  }
}

function stopped({ error, closing }: LinkEnd): SessionEndedError {
  const why = error?.message ?? closing?.reason;
  return new SessionEndedError(`the fabric ended the session: ${why || "it gave no reason"}`, {
    cause: error,
  });
}
