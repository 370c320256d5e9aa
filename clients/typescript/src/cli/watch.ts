import { type TaskEvent, TaskEventSchema } from "../gen/infrafabric/v1/coordinator_task_pb.js";
import { type StatusEvent, StatusEventSchema } from "../gen/infrafabric/v1/notify_service_pb.js";
import { type AgentStatus, Status } from "../gen/infrafabric/v1/status_pb.js";
import { watchStatus, watchTasks } from "../watch.js";
import { choose } from "./args.js";
import type { Command } from "./command.js";
import { EXIT, record, words } from "./io.js";
import { taskLine } from "./unary.js";

const SUBJECTS = { statuses: ["statuses"], tasks: ["tasks"], all: ["statuses", "tasks"] } as const;

export const watch: Command = {
  synopsis: "watch [statuses|tasks|all] [--connect-timeout SECONDS]",
  summary: "print every status and task, and then every change of them; ends with SIGINT",
  options: { "connect-timeout": { type: "string" } },
  async run(args, io, clients) {
    const [subject = "all"] = args.words(0, 1);
    const wanted: readonly string[] = SUBJECTS[choose("what to watch", subject, SUBJECTS)];
    const stop = new AbortController();
    const options = {
      signal: AbortSignal.any([io.signal, stop.signal]),
      connectTimeoutMs: (args.integer("connect-timeout", 0) ?? 10) * 1_000,
    };
    const statuses = async () => {
      for await (const event of watchStatus(clients, options)) {
        io.emit({ watch: "status", ...record(StatusEventSchema, event) }, statusText(event));
      }
    };
    const tasks = async () => {
      for await (const event of watchTasks(clients, options)) {
        io.emit({ watch: "task", ...record(TaskEventSchema, event) }, taskText(event));
      }
    };
    try {
      await Promise.all([
        wanted.includes("statuses") ? statuses() : undefined,
        wanted.includes("tasks") ? tasks() : undefined,
      ]);
    } finally {
      stop.abort();
    }
    return EXIT.ok;
  },
};

function statusText({ event }: StatusEvent): string {
  switch (event.case) {
    case "snapshot":
    case "changed":
      return statusLine(event.value);
    case "snapshotEnd":
      return `-- ${event.value.count} swarms; changes follow`;
    case "removedSwarmId":
      return `${event.value} is gone`;
    case "broadcast":
      return `broadcast: ${event.value.message}`;
    default:
      return GAP;
  }
}

function taskText({ event }: TaskEvent): string {
  switch (event.case) {
    case "snapshot":
    case "changed":
      return taskLine(event.value);
    case "snapshotEnd":
      return `-- ${event.value.count} tasks; changes follow`;
    default:
      return GAP;
  }
}

const GAP = "-- changes were missed; all follows anew";

function statusLine(agent: AgentStatus): string {
  return words(
    `${agent.swarmId} ${Status[agent.status]?.toLowerCase()}`,
    agent.queuePosition > 0 && `(number ${agent.queuePosition})`,
    agent.lastTask !== "" && `task ${agent.lastTask}`,
    agent.message !== "" && `- ${agent.message}`,
  );
}
