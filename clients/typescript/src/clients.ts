import type { SecureClientSessionOptions } from "node:http2";
import { type Client, createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { Connections } from "./connection.js";
import { CoordinatorService } from "./gen/infrafabric/v1/coordinator_service_pb.js";
import { GovernorService } from "./gen/infrafabric/v1/governor_service_pb.js";
import { NotifyService } from "./gen/infrafabric/v1/notify_service_pb.js";
import { WitnessService } from "./gen/infrafabric/v1/witness_service_pb.js";

/** Where the fabric listens unless told otherwise. */
export const DEFAULT_URL = "http://127.0.0.1:50051";

/** A watch is silent for hours; a ping tells whether its connection is still there. */
const PING_INTERVAL_MS = 30_000;
const PING_TIMEOUT_MS = 10_000;

/** Where the fabric is and how to reach it. */
export interface ConnectionOptions {
  /** Address of the fabric; default: `INFRAFABRIC_URL`, or else `http://127.0.0.1:50051`. */
  readonly url?: string;
  /** Certificates for `https:`, as Node's `tls.connect` takes them: `ca`, `cert`, `key`. */
  readonly tls?: Pick<SecureClientSessionOptions, "ca" | "cert" | "key" | "servername">;
}

/** One typed client for each service, over one HTTP/2 connection that is opened when needed. */
export interface Clients {
  readonly coordinator: Client<typeof CoordinatorService>;
  readonly notify: Client<typeof NotifyService>;
  readonly governor: Client<typeof GovernorService>;
  readonly witness: Client<typeof WitnessService>;
  /** Cuts the connection and every call on it. */
  close(): void;
}

/**
 * Creates the clients of all services.
 *
 * A failed call throws `ConnectError`; `FabricError.from` reads the reason out of it.
 *
 * @throws TypeError when the url is not a url.
 */
export function createClients(options: ConnectionOptions = {}): Clients {
  const { INFRAFABRIC_URL } = process.env;
  const url = options.url ?? (INFRAFABRIC_URL || DEFAULT_URL);
  const pings = { pingIntervalMs: PING_INTERVAL_MS, pingTimeoutMs: PING_TIMEOUT_MS };
  const sessionManager = new Connections(url, pings, options.tls);
  const transport = createGrpcTransport({ baseUrl: url, sessionManager });
  return {
    coordinator: createClient(CoordinatorService, transport),
    notify: createClient(NotifyService, transport),
    governor: createClient(GovernorService, transport),
    witness: createClient(WitnessService, transport),
    close: () => sessionManager.abort(),
  };
}
