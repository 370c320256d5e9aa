import type { SecureClientSessionOptions } from "node:http2";
import type {
  DescMessage,
  DescMethodStreaming,
  DescMethodUnary,
  MessageInitShape,
} from "@bufbuild/protobuf";
import type { ContextValues, StreamResponse, Transport, UnaryResponse } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { Turns } from "./addresses.js";
import { Connections } from "./connection.js";
import { FabricError } from "./errors.js";
import { leaves, repeats } from "./failover.js";

/**
 * A watch is silent for hours; a ping tells whether its server still runs. One that is stopped, or
 * out of reach without a word, is noticed after both times together: within the deadline of a
 * call, and long before a lease of the usual length ends.
 */
const PINGS = { pingIntervalMs: 4_000, pingTimeoutMs: 4_000 };

/** Certificates for `https:`, as Node's `tls.connect` takes them. */
export type Certificates = Pick<SecureClientSessionOptions, "ca" | "cert" | "key" | "servername">;

type Header = Parameters<Transport["unary"]>[3];

interface Server {
  readonly connections: Connections;
  readonly transport: Transport;
}

/** The servers of one fabric as one transport: one is in use until it is left for the next. */
export class Servers implements Transport {
  readonly #servers: readonly Server[];
  readonly #turns: Turns<Server>;

  constructor(urls: readonly string[], tls: Certificates | undefined, random: () => number) {
    this.#servers = urls.map((baseUrl) => {
      const connections = new Connections(baseUrl, PINGS, tls);
      const transport = createGrpcTransport({ baseUrl, sessionManager: connections });
      return { connections, transport };
    });
    this.#turns = new Turns(this.#servers, random);
  }

  /** Cuts the connections and every call on them. */
  close(): void {
    for (const { connections } of this.#servers) connections.abort();
  }

  /**
   * Makes a call, and makes it again at each other server while its time lasts, when the failure
   * or the contract says that this changes nothing twice.
   */
  async unary<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    signal: AbortSignal | undefined,
    timeoutMs: number | undefined,
    header: Header,
    input: MessageInitShape<I>,
    contextValues?: ContextValues,
  ): Promise<UnaryResponse<I, O>> {
    const endsAt = performance.now() + (timeoutMs ?? Number.POSITIVE_INFINITY);
    for (let untried = this.#turns.size - 1; ; untried -= 1) {
      const server = await this.#connected();
      const left = timeoutMs && Math.max(1, Math.round(endsAt - performance.now()));
      try {
        return await server.transport.unary(method, signal, left, header, input, contextValues);
      } catch (thrown) {
        const failure = this.#failed(server, thrown, signal);
        const over = untried <= 0 || signal?.aborted || performance.now() >= endsAt;
        if (over || !repeats(failure, method, input)) throw thrown;
      }
    }
  }

  /** Makes a call that is answered by a stream, at the server in use. */
  async stream<I extends DescMessage, O extends DescMessage>(
    method: DescMethodStreaming<I, O>,
    signal: AbortSignal | undefined,
    timeoutMs: number | undefined,
    header: Header,
    input: AsyncIterable<MessageInitShape<I>>,
    contextValues?: ContextValues,
  ): Promise<StreamResponse<I, O>> {
    const server = await this.#connected();
    const heed = (thrown: unknown) => this.#failed(server, thrown, signal);
    try {
      const { transport } = server;
      const call = [method, signal, timeoutMs, header, input, contextValues] as const;
      const response = await transport.stream(...call);
      return { ...response, message: heeding(response.message, heed) };
    } catch (thrown) {
      heed(thrown);
      throw thrown;
    }
  }

  /** Leaves the servers to which there is no connection; if there is none, the call has to tell. */
  async #connected(): Promise<Server> {
    for (let untried = this.#turns.size; untried > 1; untried -= 1) {
      const server = this.#turns.current;
      if ((await server.connections.connect()) !== "error") return server;
      this.#turns.leave(server);
    }
    return this.#turns.current;
  }

  #failed(server: Server, thrown: unknown, signal: AbortSignal | undefined): FabricError {
    const failure = FabricError.from(thrown);
    if (leaves(failure) && !signal?.aborted) this.#turns.leave(server);
    return failure;
  }
}

async function* heeding<T>(items: AsyncIterable<T>, heed: (thrown: unknown) => void) {
  try {
    yield* items;
  } catch (thrown) {
    heed(thrown);
    throw thrown;
  }
}
