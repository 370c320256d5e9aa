import type { Clients, ConnectionOptions } from "../clients.js";
import type { Args, Options } from "./args.js";
import type { Io } from "./io.js";

/** The most that a call may take, in milliseconds: an agent's hook must not hang on it. */
export const DEADLINE_MS = 5_000;

/** A command of the command line. */
export interface Command {
  /** How it is written. */
  readonly synopsis: string;
  /** What it does, in one line. */
  readonly summary: string;
  /** The options it takes beside `--url`, `--json` and `--help`. */
  readonly options: Options;
  /**
   * Runs it.
   *
   * @returns the exit code
   * @throws UsageError, FabricError, SessionEndedError
   */
  run(args: Args, io: Io, clients: Clients, connection: ConnectionOptions): Promise<number>;
}
