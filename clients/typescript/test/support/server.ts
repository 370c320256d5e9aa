import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

/** The server that `make setup` installs. */
const COMMAND = fileURLToPath(new URL("../../../../.venv/bin/infrafabric", import.meta.url));

/** Settings of a server, as environment variables. */
export type Settings = Readonly<Record<string, string>>;

/** A real server in a process of its own. */
export class Server {
  private constructor(
    private readonly child: ChildProcess,
    private readonly data: string,
    private readonly settings: Settings,
    /** Port of the gRPC services. */
    readonly port: number,
  ) {}

  /** Starts a server on a free port and waits until it is ready. */
  static async start(settings: Settings = {}): Promise<Server> {
    const data = await mkdtemp(join(tmpdir(), "infrafabric-"));
    return Server.#launch(data, settings, 0);
  }

  static async #launch(data: string, settings: Settings, port: number): Promise<Server> {
    const args = ["--grpc", `127.0.0.1:${port}`, "--http", "127.0.0.1:0", "--data", data];
    const child = spawn(COMMAND, ["serve", ...args], {
      env: { ...process.env, ...settings },
      stdio: ["ignore", "pipe", "pipe"],
    });
    const log: string[] = [];
    createInterface({ input: child.stderr }).on("line", (line) => log.push(line));
    const ready = new Promise<number>((resolve, reject) => {
      createInterface({ input: child.stdout }).on("line", (line) => {
        const match = /^ready grpc=\S+:(\d+) /.exec(line);
        if (match !== null) resolve(Number(match[1]));
      });
      child.once("error", reject);
      child.once("exit", (code) => {
        reject(new Error(`the server ended with ${code}:\n${log.join("\n")}`));
      });
    });
    return new Server(child, data, settings, await ready);
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** Kills the server and starts another one on the same port and data. */
  async restart(): Promise<Server> {
    await this.#end("SIGKILL");
    return Server.#launch(this.data, this.settings, this.port);
  }

  /** Ends the server as an operator does, and removes its data. */
  async stop(): Promise<void> {
    await this.#end("SIGTERM");
    await rm(this.data, { recursive: true });
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const exit = once(this.child, "exit");
    this.child.kill(signal);
    await exit;
  }
}
