import type { Task } from "../gen/infrafabric/v1/task_pb.js";

/** The contract's limit of offers that a session is told of; older ones are forgotten first. */
const MAX_OFFERS = 64;

/** Offers that wait for a free slot. */
export class Offers {
  readonly #offers = new Map<string, Task>();

  get size(): number {
    return this.#offers.size;
  }

  /** Adds an offer, or brings it up to date. */
  add(task: Task): void {
    this.#offers.set(task.taskId, task);
    for (const oldest of this.#offers.keys()) {
      if (this.#offers.size <= MAX_OFFERS) break;
      this.#offers.delete(oldest);
    }
  }

  /** Takes the offer of the highest priority, the older one among equals. */
  takeBest(): Task | undefined {
    let best: Task | undefined;
    for (const task of this.#offers.values()) {
      if (best === undefined || task.priority > best.priority) best = task;
    }
    if (best !== undefined) this.#offers.delete(best.taskId);
    return best;
  }

  /** Forgets all offers: a new stream begins with those that are still open. */
  clear(): void {
    this.#offers.clear();
  }
}
