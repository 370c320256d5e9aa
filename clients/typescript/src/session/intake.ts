import { BufferFullError, FabricError, SessionEndedError, TaskLostError } from "../errors.js";
import {
  type ClaimReply,
  type Holding,
  type RevokedFrame,
  RevokeReason,
  RevokeReasonSchema,
  TaskDelivery,
  type TaskFrame,
} from "../gen/infrafabric/v1/session_server_pb.js";
import { ClaimRefusal, type Task } from "../gen/infrafabric/v1/task_pb.js";
import { ClaimLedger } from "./claims.js";
import { Credit, type Demand } from "./credit.js";
import { answerOf } from "./frames.js";
import { TaskHandle } from "./handle.js";
import { Offers } from "./offers.js";
import { type SessionOptions, windowOf } from "./options.js";
import type { Outbox } from "./outbox.js";
import type { Requests } from "./requests.js";
import { TaskQueue } from "./task-queue.js";

const MAX_REASON = 4_096;

/** Takes in tasks: recognises repeats, acknowledges, claims offers, and gives credit back. */
export class Intake {
  readonly #ledger = new ClaimLedger<TaskHandle>();
  readonly #offers = new Offers();
  readonly #credit = new Credit();
  /** Claims from an earlier stream that this one has not delivered again yet. */
  #returning = new Set<TaskHandle>();
  #remaining: number;
  #claiming = 0;
  #deciding = 0;

  /** Tasks that wait for their consumer. */
  readonly queue = new TaskQueue<TaskHandle>(() => this.#topUp());

  /** @param onBug - called with what a hook throws */
  constructor(
    private readonly outbox: Outbox,
    private readonly requests: Requests,
    private readonly options: Pick<SessionOptions, "slots" | "window" | "maxTasks" | "onOffer">,
    private readonly onBug: (error: unknown) => void,
  ) {
    this.#remaining = options.maxTasks ?? Number.POSITIVE_INFINITY;
  }

  /** All claims that are held, oldest first. */
  get held(): readonly TaskHandle[] {
    return this.#ledger.held;
  }

  /** A stream is about to open: returns the credit to open it with. */
  opening(): number {
    this.#returning = new Set(this.held);
    return this.#credit.open(this.#demand);
  }

  /** A stream opened: it says what is owned, and sends what is on offer anew. */
  opened(owned: readonly Holding[]): void {
    this.#offers.clear();
    this.reconcile(owned);
    // Consumers may have made room since the opening was said.
    this.#topUp();
  }

  /** The fabric gave its account of what is held. */
  reconcile(owned: readonly Holding[]): void {
    for (const handle of this.#ledger.missing(owned)) {
      this.#revoke(handle, RevokeReason.UNSPECIFIED, "the fabric no longer lists it");
    }
    for (const { taskId, attempt, parked } of owned) {
      const handle = this.#ledger.get(taskId);
      if (handle?.attempt === attempt) handle.setParked(parked);
    }
    // One that met a full outbox waits for nothing else.
    this.#claimOffers();
  }

  /** A task came in. */
  task({ task, delivery }: TaskFrame): void {
    if (task === undefined) return;
    this.#credit.used();
    if (delivery === TaskDelivery.OFFERED) {
      this.#offered(task).catch(this.onBug);
    } else {
      const { taskId, attempt } = task;
      this.outbox.note({ case: "ack", value: { taskId, attempt } });
      this.#admit(task);
    }
    this.#topUp();
  }

  /** A claim was ended from outside. */
  revoked({ taskId, attempt, reason, detail }: RevokedFrame): void {
    const handle = this.#ledger.get(taskId);
    if (handle?.attempt !== attempt) return;
    this.#revoke(handle, reason, detail || RevokeReasonSchema.value[reason]?.name || "revoked");
  }

  /** Work must stop: every claim is given back whose end was not said yet. */
  halt(detail: string): void {
    const reason = `halted: ${detail}`.slice(0, MAX_REASON);
    for (const handle of this.held) {
      if (handle.ending) continue;
      const { taskId, attempt } = handle;
      this.#revoke(handle, RevokeReason.HALTED, reason);
      // Should it come again before it is given back, it is past.
      this.#ledger.end(handle);
      this.#giveBack(taskId, attempt, reason).catch(this.onBug);
    }
  }

  async #giveBack(taskId: string, attempt: bigint, reason: string): Promise<void> {
    try {
      await this.requests.call({ case: "release", value: { taskId, attempt, reason } });
    } catch (error) {
      // What cannot be given back is taken away when the grace time is over.
      const known =
        error instanceof SessionEndedError ||
        error instanceof FabricError ||
        error instanceof BufferFullError;
      if (!known) throw error;
    }
  }

  /** All claims are void. */
  loseAll(detail: string): void {
    for (const handle of this.held) this.#revoke(handle, RevokeReason.UNSPECIFIED, detail);
  }

  /** The session is over: consumers see the end, and work on what is held stops. */
  end(reason: Error, error: Error | undefined): void {
    this.queue.end(error);
    for (const handle of this.held) this.#lost(handle, reason);
  }

  /** Claims a task; a task that is won waits for its consumer like any other. */
  async claim(taskId: string): Promise<ClaimReply> {
    this.#claiming += 1;
    try {
      const reply = await this.requests.call({ case: "claim", value: { taskId } }, (answer) => {
        const { claimed, task } = answerOf(answer, "claim");
        if (claimed && task !== undefined) this.#admit(task);
      });
      return answerOf(reply, "claim");
    } finally {
      this.#claiming -= 1;
      this.#claimOffers();
    }
  }

  async #offered(task: Task): Promise<void> {
    if (await this.#wants(task)) {
      this.#offers.add(task);
      this.#claimOffers();
    } else {
      this.outbox.note({ case: "decline", value: { taskId: task.taskId, attempt: 0n } });
    }
  }

  async #wants(offer: Task): Promise<boolean> {
    this.#deciding += 1;
    try {
      return (await this.options.onOffer?.(offer)) ?? true;
    } finally {
      this.#deciding -= 1;
      this.#topUp();
    }
  }

  /** Claims as many offers as there are free slots. */
  #claimOffers(): void {
    const slots = this.options.slots ?? 1;
    while (this.#ledger.busy + this.#claiming < slots && this.#claiming < this.#remaining) {
      const offer = this.#offers.takeBest();
      if (offer === undefined) return;
      this.#claimOffer(offer).catch((error: unknown) => {
        // A refusal, such as that of a session which has just been closed, ends the offer alone.
        if (error instanceof SessionEndedError || error instanceof FabricError) return;
        if (error instanceof BufferFullError) this.#offers.add(offer);
        else this.onBug(error);
      });
    }
  }

  async #claimOffer(offer: Task): Promise<void> {
    const { refusal } = await this.claim(offer.taskId);
    // The fabric counts slots too, and its count decides; the offer waits for the next free one.
    if (refusal === ClaimRefusal.NO_SLOT) this.#offers.add(offer);
  }

  /** Takes in a claimed task, if it is new. */
  #admit(task: Task): void {
    const verdict = this.#ledger.judge(task);
    if (verdict.kind === "known") {
      this.#returning.delete(verdict.claim);
      verdict.claim.setParked(task.parked);
    }
    if (verdict.kind !== "new") return;
    if (verdict.replaces !== undefined) {
      const detail = `it is attempt ${task.attempt} now`;
      this.#revoke(verdict.replaces, RevokeReason.UNSPECIFIED, detail);
    }
    const handle = new TaskHandle(task, {
      call: (body, onAnswer) => this.requests.call(body, onAnswer),
      report: (key, body) => this.requests.report(key, body),
      ended: () => {
        this.#ledger.end(handle);
        this.#claimOffers();
      },
      lost: (error) => this.#lost(handle, error),
      slotChanged: () => this.#claimOffers(),
    });
    this.#ledger.add(handle);
    this.#remaining -= 1;
    this.queue.push(handle);
  }

  #revoke(handle: TaskHandle, reason: RevokeReason, detail: string): void {
    this.#lost(handle, new TaskLostError(handle.taskId, handle.attempt, reason, detail));
  }

  #lost(handle: TaskHandle, error: Error): void {
    if (!this.#ledger.drop(handle)) return;
    this.#returning.delete(handle);
    this.queue.remove(handle);
    this.#topUp();
    handle.abort(error);
    this.#claimOffers();
  }

  #topUp(): void {
    const missing = this.outbox.online ? this.#credit.topUp(this.#demand) : 0;
    if (missing > 0) this.outbox.addCredit(missing);
  }

  get #demand(): Demand {
    return {
      window: windowOf(this.options),
      waiting: this.queue.size + this.#deciding,
      remaining: this.#remaining,
      returning: this.#returning.size,
    };
  }
}
