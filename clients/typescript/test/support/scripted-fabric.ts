import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import type { ConnectError } from "@connectrpc/connect";
import {
  type ClientFrame,
  CoordinatorService,
  type OpenedFrameSchema,
  type OpenFrame,
  type OpenSessionRequest,
  OpenSessionResponseSchema,
  type ReplyFrameSchema,
  type ServerFrameSchema,
} from "../../src/index.js";
import { Mailbox } from "./mailbox.js";
import { RpcServer } from "./rpc-server.js";

type ServerBody = NonNullable<MessageInitShape<typeof ServerFrameSchema>["frame"]>;
type Opened = Omit<MessageInitShape<typeof OpenedFrameSchema>, "lease" | "$typeName">;
type Result = NonNullable<MessageInitShape<typeof ReplyFrameSchema>["result"]>;
type Out = MessageInitShape<typeof OpenSessionResponseSchema> | ConnectError | "end";
type Kind = NonNullable<ClientFrame["frame"]["case"]>;
type Said<K extends Kind> = {
  readonly requestId: string;
  readonly value: Extract<ClientFrame["frame"], { case: K }>["value"];
};

/** One stream of a session, played by the test. */
export class ScriptedStream {
  readonly #frames = new Mailbox<ClientFrame>();
  readonly #out = new Mailbox<Out>();
  #sequence = 0n;
  /** Frames in each message that came, for tests of how they are put together. */
  readonly messages: number[] = [];
  /** Resolves when the client has said its last. */
  readonly halfClosed: Promise<void>;

  constructor(requests: AsyncIterable<OpenSessionRequest>) {
    this.halfClosed = this.#listen(requests);
    this.halfClosed.catch(() => undefined);
  }

  async #listen(requests: AsyncIterable<OpenSessionRequest>): Promise<void> {
    for await (const { frames } of requests) {
      this.messages.push(frames.length);
      for (const frame of frames) this.#frames.put(frame);
    }
  }

  /** What came and was not asked for. */
  get rest(): readonly ClientFrame[] {
    return this.#frames.rest;
  }

  /** Waits for the next frame of a kind. */
  async said<K extends Kind>(kind: K): Promise<Said<K>> {
    const { requestId, frame } = await this.#frames.take((f) => f.frame.case === kind);
    return { requestId, value: frame.value as Said<K>["value"] };
  }

  /** Waits for the opening, and welcomes the client. */
  async welcome(opened: Opened = {}, leaseMs = 60_000): Promise<OpenFrame> {
    const { value } = await this.said("open");
    const lease = durationFromMs(leaseMs);
    this.send({ case: "opened", value: { sessionEpoch: 1n, resumeToken: "t1", lease, ...opened } });
    return value;
  }

  /** Sends frames in one message. */
  send(...bodies: ServerBody[]): void {
    this.#out.put({ frames: bodies.map((frame) => ({ sequence: this.#next(), frame })) });
  }

  /** Answers a frame. */
  reply(to: { readonly requestId: string }, result: Result): void {
    this.send({ case: "reply", value: { requestId: to.requestId, result } });
  }

  /** Tells where the session stands in the broadcasts. */
  sendCursor(cursor: string): void {
    this.#out.put({ frames: [], cursor });
  }

  /** Leaves numbers out, as if a frame had been lost. */
  skipSequence(): void {
    this.#sequence += 1n;
  }

  /** Ends the stream: well, or with a status. */
  end(error?: ConnectError): void {
    this.#out.put(error ?? "end");
  }

  /** For the server: what goes out. */
  async *outgoing() {
    for (;;) {
      const next = await this.#out.take();
      if (next === "end") return;
      if (next instanceof Error) throw next;
      yield create(OpenSessionResponseSchema, next);
    }
  }

  #next(): bigint {
    this.#sequence += 1n;
    return this.#sequence;
  }
}

/**
 * A fabric of which the test plays the server's part, frame by frame.
 *
 * For what a real server cannot be made to do: cuts between two frames, holes, silence.
 */
export class ScriptedFabric {
  readonly #streams = new Mailbox<ScriptedStream>();
  readonly #server = new RpcServer((router) => {
    router.rpc(CoordinatorService.method.openSession, (requests) => {
      const stream = new ScriptedStream(requests);
      this.#streams.put(stream);
      return stream.outgoing();
    });
  });

  static async start(): Promise<ScriptedFabric> {
    const fabric = new ScriptedFabric();
    await fabric.#server.start();
    return fabric;
  }

  get url(): string {
    return this.#server.url;
  }

  /** Waits for the next stream. */
  accept(): Promise<ScriptedStream> {
    return this.#streams.take();
  }

  /** Cuts all connections at once, without a word. */
  cut(): void {
    this.#server.cut();
  }

  /** Cuts all connections and stops listening. */
  stop(): Promise<void> {
    return this.#server.stop();
  }
}
