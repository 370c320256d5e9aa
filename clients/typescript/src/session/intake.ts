import { SessionEndedError, TaskLostError } from "../errors.js";
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
import { answerOf } from "./frames.js";
import { TaskHandle } from "./handle.js";
import { Offers } from "./offers.js";
import type { SessionOptions } from "./options.js";
import type { Outbox } from "./outbox.js";
import type { Requests } from "./requests.js";
import { TaskQueue } from "./task-queue.js";

/** Takes in tasks: recognises repeats, acknowledges, claims offers, and gives credit back. */
export class Intake {
  readonly #ledger = new ClaimLedger<TaskHandle>();
  readonly #offers = new Offers();
  /** The stream whose credit a waiting task uses up; a new stream begins with its whole credit. */
  readonly #creditOf = new WeakMap<TaskHandle, number>();
  #stream = 0;
  #claiming = 0;

  /** Tasks that wait for their consumer. */
  readonly queue = new TaskQueue<TaskHandle>((handle) => this.#returnCredit(handle));

  /** @param onBug - called with what a hook throws */
  constructor(
    private readonly outbox: Outbox,
    private readonly requests: Requests,
    private readonly options: Pick<SessionOptions, "slots" | "onOffer">,
    private readonly onBug: (error: unknown) => void,
  ) {}

  /** All claims that are held, oldest first. */
  get held(): readonly TaskHandle[] {
    return this.#ledger.held;
  }

  /** A stream opened: it says what is owned, and sends what is on offer anew. */
  opened(owned: readonly Holding[]): void {
    this.#stream += 1;
    this.#offers.clear();
    this.reconcile(owned);
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
  }

  /** A task came in. */
  task({ task, delivery }: TaskFrame): void {
    if (task === undefined) return;
    if (delivery === TaskDelivery.OFFERED) {
      this.outbox.addCredit(1);
      this.#offered(task).catch(this.onBug);
      return;
    }
    this.outbox.note({ case: "ack", value: { taskId: task.taskId, attempt: task.attempt } });
    if (!this.#admit(task, this.#stream)) this.outbox.addCredit(1);
  }

  /** A claim was ended from outside. */
  revoked({ taskId, attempt, reason, detail }: RevokedFrame): void {
    const handle = this.#ledger.get(taskId);
    if (handle?.attempt !== attempt) return;
    this.#revoke(handle, reason, detail || RevokeReasonSchema.value[reason]?.name || "revoked");
  }

  /** All claims are void. */
  loseAll(detail: string): void {
    for (const handle of this.held) this.#revoke(handle, RevokeReason.UNSPECIFIED, detail);
  }

  /** The session is over: consumers see the end, and work on what is held stops. */
  end(reason: Error, error: Error | undefined): void {
    this.queue.end(error);
    this.#offers.clear();
    for (const handle of this.held) this.#lost(handle, reason);
  }

  /** Claims a task; a task that is won waits for its consumer like any other. */
  async claim(taskId: string): Promise<ClaimReply> {
    this.#claiming += 1;
    try {
      const reply = await this.requests.call({ case: "claim", value: { taskId } }, (answer) => {
        const { claimed, task } = answerOf(answer, "claim");
        // No credit: the task came with an answer, not in a frame of its own.
        if (claimed && task !== undefined) this.#admit(task, 0);
      });
      return answerOf(reply, "claim");
    } finally {
      this.#claiming -= 1;
      this.#claimOffers();
    }
  }

  async #offered(task: Task): Promise<void> {
    const wanted = (await this.options.onOffer?.(task)) ?? true;
    if (wanted) {
      this.#offers.add(task);
      this.#claimOffers();
    } else {
      this.outbox.note({ case: "decline", value: { taskId: task.taskId, attempt: 0n } });
    }
  }

  /** Claims as many offers as there are free slots. */
  #claimOffers(): void {
    while (this.#ledger.busy + this.#claiming < (this.options.slots ?? 1)) {
      const offer = this.#offers.takeBest();
      if (offer === undefined) return;
      this.#claimOffer(offer).catch((error: unknown) => {
        if (!(error instanceof SessionEndedError)) this.onBug(error);
      });
    }
  }

  async #claimOffer(offer: Task): Promise<void> {
    const { refusal } = await this.claim(offer.taskId);
    // The fabric counts slots too, and its count decides; the offer waits for the next free one.
    if (refusal === ClaimRefusal.NO_SLOT) this.#offers.add(offer);
  }

  /** Takes in a claimed task; tells whether it was new. */
  #admit(task: Task, stream: number): boolean {
    const verdict = this.#ledger.judge(task);
    if (verdict.kind === "known") verdict.claim.setParked(task.parked);
    if (verdict.kind !== "new") return false;
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
    this.#creditOf.set(handle, stream);
    this.queue.push(handle);
    return true;
  }

  #revoke(handle: TaskHandle, reason: RevokeReason, detail: string): void {
    this.#lost(handle, new TaskLostError(handle.taskId, handle.attempt, reason, detail));
  }

  #lost(handle: TaskHandle, error: Error): void {
    if (!this.#ledger.drop(handle)) return;
    if (this.queue.remove(handle)) this.#returnCredit(handle);
    handle.abort(error);
    this.#claimOffers();
  }

  #returnCredit(handle: TaskHandle): void {
    if (this.#creditOf.get(handle) === this.#stream) this.outbox.addCredit(1);
  }
}
