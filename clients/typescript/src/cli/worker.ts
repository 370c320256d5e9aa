import { FabricError, SessionEndedError, TaskLostError } from "../errors.js";
import type { FailureKindName } from "../names.js";
import type { TaskHandle } from "../session/handle.js";
import { type Ran, runCommand } from "./exec.js";
import type { Io } from "./io.js";

/** What became of a task. */
export type Outcome = "completed" | "failed" | "released" | "lost";

/** Does the tasks of a session by running a shell command for each. */
export class CommandWorker {
  constructor(
    private readonly command: string,
    private readonly io: Io,
  ) {}

  /** Does a task to its end. */
  async work(task: TaskHandle): Promise<Outcome> {
    try {
      await task.unblocked();
      return await this.#report(task, await this.#run(task));
    } catch (error) {
      if (error instanceof TaskLostError || error instanceof SessionEndedError) return "lost";
      throw error;
    }
  }

  #run(task: TaskHandle): Promise<Ran> {
    return runCommand(this.command, task, {
      progress: (percent, note) => {
        this.io.emit(
          { event: "progress", task_id: task.taskId, percent, note },
          `${task.taskId} at ${percent} % ${note}`,
        );
        // A report that is refused costs the task nothing; a lost claim ends it by its signal.
        task.progress(percent, note).catch((error: Error) => this.io.note(error.message));
      },
      stderr: (line) => this.io.note(line),
    });
  }

  async #report(task: TaskHandle, ran: Ran): Promise<Outcome> {
    if (ran.kind === "killed") return "lost";
    if (ran.kind === "failure") return this.#fail(task, ran.reason, ran.failure);
    try {
      await task.complete(ran.result);
      return "completed";
    } catch (error) {
      // The same command would say the same again.
      if (!(error instanceof FabricError)) throw error;
      return this.#fail(task, `the result was refused: ${error.message}`, "permanent");
    }
  }

  async #fail(task: TaskHandle, reason: string, kind: FailureKindName): Promise<Outcome> {
    await task.fail(reason, { kind });
    this.io.note(`${task.taskId} failed: ${reason}`);
    return "failed";
  }
}
