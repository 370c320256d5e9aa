import { createInterface } from "node:readline";
import type { ConnectionOptions } from "../clients.js";
import { FabricError, TaskLostError } from "../errors.js";
import { RevokeReason } from "../gen/infrafabric/v1/session_server_pb.js";
import { TaskSchema } from "../gen/infrafabric/v1/task_pb.js";
import { ROLE_BY_NAME } from "../names.js";
import type { TaskHandle } from "../session/handle.js";
import type { ConnectionChange, SessionOptions } from "../session/options.js";
import { Session } from "../session/session.js";
import type { Args } from "./args.js";
import type { Command } from "./command.js";
import { Console, LINES } from "./console.js";
import { EXIT, type Io, record, words } from "./io.js";
import { tellAlert, tellConnection, tellHalt, tellHelp } from "./tell.js";
import { CommandWorker, type Outcome } from "./worker.js";

export const session: Command = {
  synopsis: `session --swarm ID [--capabilities A,B] [--slots N] [--exec COMMAND]
      [--once | --max-tasks N] [--model TEXT] [--cost-per-hour-micros N]
      [--role worker|orchestrator] [--connect-timeout SECONDS]`,
  summary: `run a session: take tasks, and run COMMAND for each; without one, standard input directs
      the session by lines:
${LINES.replaceAll(/^/gm, "        ")}`,
  options: {
    swarm: { type: "string" },
    capabilities: { type: "string" },
    slots: { type: "string" },
    exec: { type: "string" },
    once: { type: "boolean" },
    "max-tasks": { type: "string" },
    model: { type: "string" },
    "cost-per-hour-micros": { type: "string" },
    role: { type: "string" },
    "connect-timeout": { type: "string" },
  },
  async run(args, io, { governor }, connection) {
    const command = args.text("exec");
    const options = optionsOf(args, connection);
    const answer =
      command === undefined ? "accept" : `infrafabric help accept --swarm ${options.swarmId}`;
    const open = await openSession(options, io, answer);
    if (open === undefined) return EXIT.ok;
    const hands =
      command === undefined
        ? direct(new Console(open, governor), io)
        : new CommandWorker(command, io);
    try {
      return await serve(open, hands, options.maxTasks, io);
    } finally {
      await open.close("the program ends");
      if (command === undefined) process.stdin.destroy();
    }
  },
};

/** Whoever does the work. */
interface Worker {
  work(task: TaskHandle): Promise<Outcome>;
}

function optionsOf(args: Args, connection: ConnectionOptions): SessionOptions {
  args.words(0, 0);
  const cost = args.integer("cost-per-hour-micros", 0);
  const maxTasks = args.flag("once") ? 1 : args.integer("max-tasks", 1);
  return {
    ...connection,
    swarmId: args.required("swarm"),
    capabilities: args.list("capabilities"),
    slots: args.integer("slots", 1, 64) ?? 1,
    model: args.text("model") ?? "",
    role: args.choice("role", ROLE_BY_NAME) ?? "worker",
    openTimeoutMs: (args.integer("connect-timeout", 0) ?? 10) * 1_000,
    ...(cost === undefined ? {} : { costPerHourMicros: cost }),
    ...(maxTasks === undefined ? {} : { maxTasks }),
  };
}

/** Opens the session; undefined when the program is asked to stop before. */
async function openSession(
  options: SessionOptions,
  io: Io,
  answer: string,
): Promise<Session | undefined> {
  // People are told of an outage once, not at every attempt to end it.
  let outage = "";
  const onConnection = (change: ConnectionChange) => {
    const before = outage;
    outage = change.connected ? "" : (change.error?.message ?? "no reason");
    if (io.json || outage === "" || outage !== before) tellConnection(change, options.swarmId, io);
  };
  try {
    return await Session.open({
      ...options,
      signal: io.signal,
      onConnection,
      onBroadcast: ({ message }) =>
        io.emit({ event: "broadcast", message }, `broadcast: ${message}`),
      onAlert: (blocker) => tellAlert(blocker, io),
      onHelpWanted: (help) => tellHelp(help, options.swarmId, io, answer),
      onHalt: (halt) => tellHalt(halt, io),
    });
  } catch (error) {
    if (io.signal.aborted) return undefined;
    throw error;
  }
}

/** Works until the session ends or all tasks that were asked for are done. */
async function serve(
  session: Session,
  worker: Worker,
  maxTasks: number | undefined,
  io: Io,
): Promise<number> {
  const running = new Set<Promise<void>>();
  let taken = 0;
  let bad = 0;
  for await (const task of session) {
    taken += 1;
    io.emit({ event: "task", task: record(TaskSchema, task.task) }, taskText(task));
    const done = finish(session, worker, task, io).then((outcome) => {
      if (outcome !== "completed") bad += 1;
      running.delete(done);
    });
    running.add(done);
    if (taken === maxTasks) break;
  }
  await Promise.all(running);
  const asked = maxTasks === undefined || io.signal.aborted;
  return asked || bad === 0 ? EXIT.ok : EXIT.failed;
}

async function finish(
  session: Session,
  worker: Worker,
  task: TaskHandle,
  io: Io,
): Promise<Outcome> {
  let outcome: Outcome;
  try {
    outcome = await worker.work(task);
  } catch (error) {
    if (!(error instanceof FabricError)) throw error;
    io.error(error);
    outcome = "failed";
  }
  const lost = task.signal.reason instanceof TaskLostError ? task.signal.reason : undefined;
  let reason = lost?.message ?? "";
  // Nobody took what went back because this program asked for its end.
  if (outcome === "lost" && session.closing && lost?.reason === RevokeReason.ENDED_ELSEWHERE) {
    outcome = "released";
    reason = "the session was closed";
  }
  io.emit(
    { event: outcome, task_id: task.taskId, attempt: `${task.attempt}`, reason },
    words(`${task.taskId} ${outcome}`, reason !== "" && `(${reason})`),
  );
  return outcome;
}

/** Lets the lines of standard input direct the session. */
function direct(console: Console, io: Io): Worker {
  createInterface({ input: process.stdin }).on("line", (line) => {
    if (line.trim() === "") return;
    console.obey(line).then(
      (told) => told && io.emit(...told),
      (error: unknown) => {
        if (!(error instanceof Error)) throw error;
        io.error(error);
      },
    );
  });
  return console;
}

function taskText(task: TaskHandle): string {
  const { title } = task.task;
  return words(`task ${task.taskId}`, `(attempt ${task.attempt})`, title !== "" && `- ${title}`);
}
