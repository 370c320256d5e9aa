/** The commands that make one call, or page through one: `notify`, `tasks`, `claim`. */

import { ClaimTaskResponseSchema } from "../gen/infrafabric/v1/coordinator_claim_pb.js";
import { NotifyResponseSchema } from "../gen/infrafabric/v1/notify_service_pb.js";
import {
  ClaimRefusalSchema,
  type Task,
  TaskSchema,
  TaskState,
} from "../gen/infrafabric/v1/task_pb.js";
import { STATUS_BY_NAME, TASK_STATE_BY_NAME } from "../names.js";
import { choose } from "./args.js";
import { type Command, DEADLINE_MS } from "./command.js";
import { EXIT, record, words } from "./io.js";

const PAGE = 1_000;

export const notify: Command = {
  synopsis: "notify STATUS [MESSAGE] --swarm ID [--task TEXT] [--capabilities A,B] [--needs A,B]",
  summary: "report what a swarm is doing: idle, busy, blocked, completed or help",
  options: {
    swarm: { type: "string" },
    task: { type: "string" },
    capabilities: { type: "string" },
    needs: { type: "string" },
  },
  async run(args, io, { notify }) {
    const [name = "", message = ""] = args.words(1, 2);
    const request = {
      swarmId: args.required("swarm"),
      status: STATUS_BY_NAME[choose("STATUS", name, STATUS_BY_NAME)],
      message,
      taskId: args.text("task") ?? "",
      capabilities: args.list("capabilities"),
      needs: args.list("needs"),
    };
    const answer = await notify.notify(request, { signal: io.signal, timeoutMs: DEADLINE_MS });
    const helpers = answer.helpers.map((helper) => helper.swarmId).join(", ");
    const text = words(
      `${request.swarmId} is ${name}`,
      answer.queuePosition > 0 && `(number ${answer.queuePosition} in the idle queue)`,
      answer.escalated && "(the orchestrator is told)",
      helpers !== "" && `(could help: ${helpers})`,
    );
    const json = record(NotifyResponseSchema, answer);
    io.emit({ swarm_id: request.swarmId, status: name, ...json }, text);
    return EXIT.ok;
  },
};

export const tasks: Command = {
  synopsis: "tasks [--state STATE] [--owner SWARM]",
  summary: `list tasks; STATE is ${Object.keys(TASK_STATE_BY_NAME).join(", ")}`,
  options: { state: { type: "string" }, owner: { type: "string" } },
  async run(args, io, { coordinator }) {
    args.words(0, 0);
    const state = args.choice("state", TASK_STATE_BY_NAME);
    const filters = {
      states: state === undefined ? [] : [TASK_STATE_BY_NAME[state]],
      ownerSwarmId: args.text("owner") ?? "",
      pageSize: PAGE,
    };
    const call = { signal: io.signal, timeoutMs: DEADLINE_MS };
    let pageToken = "";
    do {
      const page = await coordinator.listTasks({ ...filters, pageToken }, call);
      for (const task of page.tasks) io.emit(record(TaskSchema, task), taskLine(task));
      pageToken = page.nextPageToken;
    } while (pageToken !== "");
    return EXIT.ok;
  },
};

export const claim: Command = {
  synopsis: "claim TASK --swarm ID",
  summary: "claim a task for a swarm; exits with 1 when the claim is lost",
  options: { swarm: { type: "string" } },
  async run(args, io, { coordinator }) {
    const [taskId = ""] = args.words(1, 1);
    const swarmId = args.required("swarm");
    const answer = await coordinator.claimTask(
      { swarmId, taskId },
      { signal: io.signal, timeoutMs: DEADLINE_MS },
    );
    const why = ClaimRefusalSchema.value[answer.refusal]?.localName.toLowerCase();
    const refusal = `${taskId} is not claimed: ${why?.replaceAll("_", " ")}`;
    io.emit(
      record(ClaimTaskResponseSchema, answer),
      answer.claimed
        ? `${swarmId} holds ${taskId}, attempt ${answer.task?.attempt}`
        : words(refusal, answer.ownerSwarmId !== "" && `(held by ${answer.ownerSwarmId})`),
    );
    return answer.claimed ? EXIT.ok : EXIT.failed;
  },
};

/** Tells a task in one line. */
export function taskLine(task: Task): string {
  const state = TaskState[task.state]?.toLowerCase();
  const held = task.state === TaskState.CLAIMED;
  return words(
    `${task.taskId} ${state}`,
    held && `by ${task.ownerSwarmId}, attempt ${task.attempt}, ${task.milestonePercent} %`,
    task.parked && "(parked)",
    task.title !== "" && `- ${task.title}`,
  );
}
