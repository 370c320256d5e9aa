#!/usr/bin/env node
/** The command line `infrafabric-ts`. */

import { ConnectError } from "@connectrpc/connect";
import { splitUrls } from "../addresses.js";
import { type ConnectionOptions, createClients, DEFAULT_URL } from "../clients.js";
import { FabricError, SessionEndedError } from "../errors.js";
import { Args, UsageError } from "./args.js";
import type { Command } from "./command.js";
import { EXIT, type Io, ioOf } from "./io.js";
import { session } from "./session.js";
import { claim, notify, tasks } from "./unary.js";
import { watch } from "./watch.js";

const COMMANDS: Readonly<Record<string, Command>> = { session, notify, tasks, claim, watch };

const USAGE = `usage: infrafabric-ts COMMAND [OPTIONS]

${Object.values(COMMANDS)
  .map(({ synopsis, summary }) => `  ${synopsis}\n      ${summary}\n`)
  .join("\n")}
every command:
  --url URL   where the fabric is, as a URL or HOST:PORT, or several separated by commas;
              default: INFRAFABRIC_URL, INFRAFABRIC_SERVER, or ${DEFAULT_URL}
  --json      print one JSON object a line
  --help      print this

exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 the fabric cannot be reached
`;

/** Runs a command line and returns its exit code. */
async function main([name = "", ...rest]: readonly string[]): Promise<number> {
  const stop = stopSignal();
  const asked = name === "--help" || name === "-h" || rest.includes("--help");
  if (asked) {
    process.stdout.write(USAGE);
    return EXIT.ok;
  }
  if (name === "") {
    process.stderr.write(USAGE);
    return EXIT.usage;
  }
  const io = ioOf(rest.includes("--json"), stop);
  try {
    const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
    if (command === undefined) throw new UsageError(`there is no command "${name}"`);
    return await run(command, Args.parse(rest, command.options), io);
  } catch (error) {
    return exitCodeOf(error, io, name);
  }
}

async function run(command: Command, args: Args, io: Io): Promise<number> {
  const connection: ConnectionOptions = { url: urlsOf(args) };
  const clients = createClients(connection);
  try {
    return await command.run(args, io, clients, connection);
  } finally {
    clients.close();
  }
}

/** Returns where the fabric is; `infrafabric` reads INFRAFABRIC_SERVER, which is HOST:PORT. */
function urlsOf(args: Args): readonly string[] {
  const { INFRAFABRIC_URL, INFRAFABRIC_SERVER } = process.env;
  const given = args.text("url") ?? (INFRAFABRIC_URL || INFRAFABRIC_SERVER || DEFAULT_URL);
  return splitUrls(given).map((address) => {
    const url = address.includes("://") ? address : `http://${address}`;
    if (/^https?:\/\/[^\s/]+\/?$/.test(url) && URL.canParse(url)) return url;
    throw new UsageError(
      `the address of the fabric is HOST:PORT or ${DEFAULT_URL}: got "${given}"`,
    );
  });
}

function exitCodeOf(error: unknown, io: Io, name: string): number {
  if (error instanceof UsageError) {
    io.error(error);
    const synopsis = Object.hasOwn(COMMANDS, name) ? COMMANDS[name]?.synopsis : undefined;
    if (!io.json) {
      if (synopsis !== undefined) io.note(`usage: infrafabric-ts ${synopsis}`);
      io.note("infrafabric-ts --help tells more");
    }
    return EXIT.usage;
  }
  const failure = error instanceof ConnectError ? FabricError.from(error) : error;
  if (!(failure instanceof FabricError || failure instanceof SessionEndedError)) throw error;
  io.error(failure);
  const unreachable = failure instanceof FabricError && failure.unreachable;
  if (!unreachable || io.signal.aborted) return EXIT.failed;
  if (!io.json) io.note("is the fabric running? --url or INFRAFABRIC_URL tells where it is");
  return EXIT.unreachable;
}

/** Returns what SIGINT, SIGTERM and a closed standard output abort; a second signal ends at once. */
function stopSignal(): AbortSignal {
  const stop = new AbortController();
  for (const name of ["SIGINT", "SIGTERM"] as const) {
    process.on(name, () => {
      if (stop.signal.aborted) process.exit(EXIT.failed);
      stop.abort();
    });
  }
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code !== "EPIPE") throw error;
    stop.abort();
  });
  return stop.signal;
}

process.exitCode = await main(process.argv.slice(2));
