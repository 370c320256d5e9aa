import type { JsonObject } from "@bufbuild/protobuf";
import type { Clients } from "../clients.js";
import { FabricError } from "../errors.js";
import { ClaimRefusalSchema } from "../gen/infrafabric/v1/task_pb.js";
import { STATUS_BY_NAME } from "../names.js";
import type { TaskHandle } from "../session/handle.js";
import type { Session } from "../session/session.js";
import { choose, UsageError } from "./args.js";
import { DEADLINE_MS } from "./command.js";
import type { Told } from "./io.js";
import { objectOf } from "./json.js";
import type { Outcome } from "./worker.js";

interface Open {
  readonly task: TaskHandle;
  readonly finish: (outcome: Outcome) => void;
}

/** How the lines are written that direct a session. */
export const LINES = `complete TASK [JSON]
fail TASK REASON
release TASK [REASON]
progress TASK 0|25|50|75|100 [NOTE]
block TASK DESCRIPTION
claim TASK
accept HELP-REQUEST
status STATUS [MESSAGE]
close`;

const PERCENTS = { "0": 0, "25": 25, "50": 50, "75": 75, "100": 100 } as const;

/** Lets whoever writes to standard input do the work of a session, line by line. */
export class Console {
  readonly #open = new Map<string, Open>();

  constructor(
    private readonly session: Session,
    private readonly governor: Clients["governor"],
  ) {}

  /** Waits until the lines, or the fabric, have ended a task. */
  work(task: TaskHandle): Promise<Outcome> {
    return new Promise((finish) => {
      this.#open.set(task.taskId, { task, finish });
      const lost = () => {
        this.#open.delete(task.taskId);
        finish("lost");
      };
      task.signal.addEventListener("abort", lost, { once: true });
    });
  }

  /**
   * Does what a line says.
   *
   * @returns what there is to tell; the end of a task is told by whoever waits for it
   * @throws UsageError when it cannot be understood, and what the session throws
   */
  async obey(line: string): Promise<Told | undefined> {
    const [verb = "", name = "", rest = ""] = split(line);
    switch (verb) {
      case "complete":
        return this.#finish(name, "completed", (task) => task.complete(resultOf(rest)));
      case "fail":
        return this.#finish(name, "failed", (task) => task.fail(rest));
      case "release":
        return this.#finish(name, "released", (task) => task.release(rest));
      case "progress":
        return this.#progress(name, rest);
      case "block":
        return this.#block(name, rest);
      case "claim":
        return this.#claim(name);
      case "accept":
        return this.#accept(name);
      case "status":
        return this.#status(name, rest);
      case "close":
        await this.session.close("asked to close");
        return [{ event: "closed" }, "closed"];
      default:
        throw new UsageError(`a line is one of:\n${LINES}\ngot: ${line}`);
    }
  }

  async #finish(
    taskId: string,
    outcome: Outcome,
    end: (task: TaskHandle) => Promise<unknown>,
  ): Promise<undefined> {
    const { task, finish } = this.#find(taskId);
    await end(task);
    this.#open.delete(taskId);
    finish(outcome);
    return undefined;
  }

  async #progress(taskId: string, rest: string): Promise<Told> {
    const [word = "", ...note] = rest.split(" ");
    const { task } = this.#find(taskId);
    const percent = PERCENTS[choose("a milestone", word, PERCENTS)];
    await task.progress(percent, note.join(" "));
    return [{ event: "progress", task_id: taskId, percent }, `${taskId} at ${percent} %`];
  }

  async #block(taskId: string, description: string): Promise<Told> {
    await this.#find(taskId).task.block(description);
    return [{ event: "blocked", task_id: taskId }, `${taskId} is parked`];
  }

  async #claim(taskId: string): Promise<Told> {
    const { claimed, refusal, ownerSwarmId } = await this.session.claim(taskId);
    const why = ClaimRefusalSchema.value[refusal]?.name ?? "";
    const told = { event: "claim", task_id: taskId, claimed };
    return claimed
      ? [told, `${taskId} is claimed`]
      : [{ ...told, refusal: why, owner_swarm_id: ownerSwarmId }, `${taskId} is not: ${why}`];
  }

  async #accept(helpId: string): Promise<Told> {
    const { swarmId } = this.session;
    const call = { timeoutMs: DEADLINE_MS };
    const answer = await this.governor.acceptHelp({ helpId, swarmId }, call).catch((error) => {
      throw FabricError.from(error);
    });
    const { accepted, refusalDetail } = answer;
    return [
      { event: "accept", help_id: helpId, accepted, refusal_detail: refusalDetail },
      accepted ? `${swarmId} helps with ${helpId}` : `${swarmId} does not help: ${refusalDetail}`,
    ];
  }

  async #status(name: string, message: string): Promise<Told> {
    const status = choose("STATUS", name, STATUS_BY_NAME);
    await this.session.status(status, { message });
    return [{ event: "status", status: name }, `status ${name}`];
  }

  #find(taskId: string): Open {
    const open = this.#open.get(taskId);
    if (open !== undefined && this.session.tasks.includes(open.task)) return open;
    throw new UsageError(
      taskId === ""
        ? `name a task after the word; a line is one of:\n${LINES}`
        : `this session does not hold a task ${taskId}`,
    );
  }
}

/** Splits a line into its first word, its second word and the rest. */
function split(line: string): string[] {
  return /^\s*(\S+)(?:\s+(\S+))?(?:\s+(.*?))?\s*$/.exec(line)?.slice(1) ?? [];
}

function resultOf(text: string): JsonObject {
  const result = text === "" ? {} : objectOf(text);
  if (result === undefined) throw new UsageError(`a result is a JSON object: got ${text}`);
  return result;
}
