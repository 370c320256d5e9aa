import { type Client, createClient } from "@connectrpc/connect";
import { splitUrls } from "./addresses.js";
import { CoordinatorService } from "./gen/infrafabric/v1/coordinator_service_pb.js";
import { GovernorService } from "./gen/infrafabric/v1/governor_service_pb.js";
import { NotifyService } from "./gen/infrafabric/v1/notify_service_pb.js";
import { WitnessService } from "./gen/infrafabric/v1/witness_service_pb.js";
import { type Certificates, Servers } from "./servers.js";

/** Where the fabric listens unless told otherwise. */
export const DEFAULT_URL = "http://127.0.0.1:50051";

/** Where the fabric is and how to reach it. */
export interface ConnectionOptions {
  /**
   * Address of the fabric; default: `INFRAFABRIC_URL`, or else `http://127.0.0.1:50051`.
   *
   * Of several, separated by commas or in a list, one is used at a time, and the next when it
   * cannot be reached or is about to stop.
   */
  readonly url?: string | readonly string[];
  /** Certificates for `https:`, as Node's `tls.connect` takes them: `ca`, `cert`, `key`. */
  readonly tls?: Certificates;
  /** Draws from [0, 1), for jitter and for the server to begin with; default `Math.random`. */
  readonly random?: () => number;
}

/** One typed client for each service, over an HTTP/2 connection that is opened when needed. */
export interface Clients {
  readonly coordinator: Client<typeof CoordinatorService>;
  readonly notify: Client<typeof NotifyService>;
  readonly governor: Client<typeof GovernorService>;
  readonly witness: Client<typeof WitnessService>;
  /** Cuts the connections and every call on them. */
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
  const servers = new Servers(urlsOf(options), options.tls, options.random ?? Math.random);
  return {
    coordinator: createClient(CoordinatorService, servers),
    notify: createClient(NotifyService, servers),
    governor: createClient(GovernorService, servers),
    witness: createClient(WitnessService, servers),
    close: () => servers.close(),
  };
}

/** Returns the addresses of all servers of the fabric, one at least. */
export function urlsOf({ url }: ConnectionOptions): readonly string[] {
  const { INFRAFABRIC_URL } = process.env;
  return splitUrls(url ?? (INFRAFABRIC_URL || DEFAULT_URL));
}
