import type { Http2Session } from "node:http2";
import { Http2SessionManager } from "@connectrpc/connect-node";

/**
 * Opens HTTP/2 connections whose failure never becomes an uncaught exception.
 *
 * A peer that does not speak HTTP/2 makes a connection fail more than once. The manager hears the
 * first failure, tells the calls, and then listens no more.
 */
export class Connections extends Http2SessionManager {
  readonly #heard = new WeakSet<Http2Session>();

  override async request(
    ...call: Parameters<Http2SessionManager["request"]>
  ): ReturnType<Http2SessionManager["request"]> {
    const stream = await super.request(...call);
    const { session } = stream;
    if (session !== undefined && !this.#heard.has(session)) {
      this.#heard.add(session);
      session.on("error", () => undefined);
    }
    return stream;
  }
}
