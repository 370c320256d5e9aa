import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { onTestFinished } from "vitest";

/** A TCP proxy that a test can spoil: it cuts connections, refuses them, or falls silent. */
export class FaultyProxy {
  readonly #pairs = new Set<readonly [Socket, Socket]>();
  readonly #server: Server;
  #refusing = false;
  #connections = 0;

  private constructor(private readonly port: number) {
    this.#server = createServer((client) => this.#join(client));
  }

  /** Starts a proxy to a port of this machine, for the time of the test. */
  static async to(port: number): Promise<FaultyProxy> {
    const proxy = new FaultyProxy(port);
    await new Promise<void>((resolve) => proxy.#server.listen(0, "127.0.0.1", resolve));
    onTestFinished(() => {
      proxy.cut();
      proxy.#server.close();
    });
    return proxy;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** Connections that were let through, so far. */
  get connections(): number {
    return this.#connections;
  }

  /** Cuts what is connected; a new connection is let through. */
  cut(): void {
    for (const pair of this.#pairs) for (const socket of pair) socket.destroy();
  }

  /** Cuts what is connected and refuses new connections, until `open`. */
  refuse(): void {
    this.#refusing = true;
    this.cut();
  }

  /** Keeps what is connected but lets nothing through it any more; a new connection is let through. */
  silence(): void {
    for (const pair of this.#pairs) for (const socket of pair) socket.pause();
  }

  /** Lets new connections through again. */
  open(): void {
    this.#refusing = false;
  }

  #join(client: Socket): void {
    client.on("error", () => undefined);
    if (this.#refusing) {
      client.destroy();
      return;
    }
    this.#connections += 1;
    const server = connect(this.port, "127.0.0.1");
    const pair = [client, server] as const;
    this.#pairs.add(pair);
    for (const [from, to] of [
      [client, server],
      [server, client],
    ] as const) {
      from.on("error", () => undefined);
      from.on("data", (data) => to.write(data));
      from.on("close", () => {
        this.#pairs.delete(pair);
        to.destroy();
      });
    }
  }
}
