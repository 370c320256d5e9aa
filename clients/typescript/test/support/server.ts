import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll } from "vitest";

/** The server that `make setup` installs. */
const COMMAND = fileURLToPath(new URL("../../../../.venv/bin/infrafabric", import.meta.url));

/** Settings of a server, as environment variables. */
export type Settings = Readonly<Record<string, string>>;

/** A real server, in a process of its own, for the tests of a file. */
export class Server {
  #child: ChildProcess | undefined;
  #data = "";
  #port = 0;

  private constructor(private readonly settings: Settings) {}

  /** Starts a server before the tests of this file and stops it after them. */
  static forThisFile(settings: Settings = {}): Server {
    const server = new Server(settings);
    beforeAll(() => server.#start(), 60_000);
    afterAll(() => server.#stop());
    return server;
  }

  /** Port of the gRPC services. */
  get port(): number {
    return this.#port;
  }

  /** Address of the gRPC services. */
  get url(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  /** Kills the server and starts another one on the same port and data. */
  async restart(): Promise<void> {
    await this.#end("SIGKILL");
    await this.#launch();
  }

  async #start(): Promise<void> {
    this.#data = await mkdtemp(join(tmpdir(), "infrafabric-"));
    await this.#launch();
  }

  /** Ends the server as an operator does, and removes its data. */
  async #stop(): Promise<void> {
    await this.#end("SIGTERM");
    await rm(this.#data, { recursive: true });
  }

  /** Starts the process and waits for the line that says that both ports answer. */
  async #launch(): Promise<void> {
    const ports = ["--grpc", `127.0.0.1:${this.#port}`, "--http", "127.0.0.1:0"];
    const child = spawn(COMMAND, ["serve", ...ports, "--data", this.#data, ...this.#standing()], {
      env: { ...process.env, ...this.settings },
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.#child = child;
    const log: string[] = [];
    createInterface({ input: child.stderr }).on("line", (line) => log.push(line));
    this.#port = await new Promise<number>((resolve, reject) => {
      createInterface({ input: child.stdout }).on("line", (line) => {
        const match = /^ready grpc=\S+:(\d+) /.exec(line);
        if (match !== null) resolve(Number(match[1]));
      });
      child.once("error", reject);
      child.once("exit", (code) => {
        reject(new Error(`the server ended with ${code}:\n${log.join("\n")}`));
      });
    });
  }

  /** Says what the server stands on: its own store, unless the environment names an etcd. */
  #standing(): readonly string[] {
    const { INFRAFABRIC_TEST_ETCD: etcd, INFRAFABRIC_TEST_NATS: nats } = process.env;
    if (etcd === undefined || nats === undefined) return [];
    return ["--store", `etcd://${etcd}/${basename(this.#data)}`, "--bus", nats];
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    const child = this.#child;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const exit = once(child, "exit");
    child.kill(signal);
    await exit;
  }
}
