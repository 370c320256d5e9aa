/**
 * The TypeScript library as a subject of the scenario that all client libraries must pass:
 * commands come in as lines, events go out; tests/integration/conformance has the protocol.
 */

import { createInterface } from "node:readline";
import { createClients, HelpState, Session } from "../../dist/index.js";

function say(line) {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

/** One session, and the tasks that it holds. */
class Subject {
  #tasks = new Map();
  #session;

  async open({ session, server, capabilities, slots, window, supervises }) {
    this.#session = await Session.open({
      url: `http://${server}`,
      swarmId: session,
      capabilities,
      slots,
      window,
      role: supervises ? "orchestrator" : "worker",
      onOffer: (task) => !task.taskId.startsWith("unwanted"),
      onBroadcast: ({ message }) => say({ session, event: "broadcast", message }),
      onAlert: ({ taskId, resolveTime }) =>
        say({ session, event: "alert", task_id: taskId, resolved: resolveTime !== undefined }),
      onHelpWanted: ({ taskId, state, askedSwarmIds }) =>
        say({
          session,
          event: "help",
          task_id: taskId,
          state: `HELP_STATE_${HelpState[state]}`,
          asked: askedSwarmIds.includes(session),
        }),
      onHalt: ({ breaker }) => say({ session, event: "halt", detail: breaker.detail }),
    });
    void this.#work(session);
  }

  async #work(session) {
    for await (const task of this.#session) {
      const { taskId, signal } = task;
      const attempt = Number(task.attempt);
      this.#tasks.set(taskId, task);
      say({ session, event: "task", task_id: taskId, attempt });
      signal.addEventListener("abort", () =>
        say({ session, event: "lost", task_id: taskId, attempt }),
      );
    }
  }

  async status({ status, message }) {
    await this.#session.status(status, { message });
  }

  create({ task_ids, capabilities }) {
    return this.#session.create(
      task_ids.map((taskId) => ({ taskId, requiredCapabilities: capabilities })),
    );
  }

  async claim({ task_id }) {
    return (await this.#session.claim(task_id)).claimed;
  }

  async progress({ task_id, percent }) {
    await this.#tasks.get(task_id).progress(percent, "on the way");
  }

  async cost({ task_id, operation, micros }) {
    await this.#tasks.get(task_id).cost(operation, micros);
  }

  async accept({ session, server, help_id }) {
    const { governor, close } = createClients({ url: server.map((each) => `http://${each}`) });
    try {
      return (await governor.acceptHelp({ helpId: help_id, swarmId: session })).accepted;
    } finally {
      close();
    }
  }

  async charge({ operation, micros, help_id }) {
    const cost = await this.#session.cost(operation, micros, { helpId: help_id });
    return Number(cost.reservationLeftMicros);
  }

  async complete({ task_id }) {
    await this.#tasks.get(task_id).complete({ answer: 42 });
  }

  async fail({ task_id }) {
    await this.#tasks.get(task_id).fail("it cannot be done", { kind: "permanent" });
  }

  async release({ task_id }) {
    await this.#tasks.get(task_id).release("not mine");
  }

  async block({ task_id }) {
    const task = this.#tasks.get(task_id);
    await task.block("no key");
    await task.unblocked();
  }

  close() {
    return this.#session.close();
  }
}

const subjects = new Map();

async function obey(command) {
  const subject = subjects.get(command.session);
  try {
    say({ id: command.id, value: (await subject[command.do](command)) ?? null });
  } catch (error) {
    say({ id: command.id, error: String(error) });
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line);
  if (command.do === "open") subjects.set(command.session, new Subject());
  void obey(command);
}
