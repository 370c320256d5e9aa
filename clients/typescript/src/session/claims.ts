/** What the ledger needs to know of a claim. */
export interface Claim {
  readonly taskId: string;
  readonly attempt: bigint;
  /** Whether the claim takes up a slot: a parked one does not. */
  readonly parked: boolean;
  /** Whether the worker has said how the task ended and waits for the answer. */
  readonly ending: boolean;
}

/** A claim as the fabric names it. */
export type ClaimKey = Pick<Claim, "taskId" | "attempt">;

/**
 * How a delivery relates to what is known.
 *
 * - `new`: a claim that was not seen yet; `replaces` is the older attempt that it makes void
 * - `known`: a repeat of a claim that is still held
 * - `past`: the attempt was ended by this worker or is older than the one that is held
 */
export type Verdict<C> =
  | { readonly kind: "new"; readonly replaces: C | undefined }
  | { readonly kind: "known"; readonly claim: C }
  | { readonly kind: "past" };

/** Claims that ended, kept to recognise late repeats; more than a server can have under way. */
const REMEMBERED = 1024;

/** The claims that the worker holds: recognises repeats and finds out what was lost. */
export class ClaimLedger<C extends Claim> {
  readonly #held = new Map<string, C>();
  readonly #ended = new Set<string>();

  /** All claims that are held, oldest first. */
  get held(): readonly C[] {
    return [...this.#held.values()];
  }

  /** How many claims take up a slot. */
  get busy(): number {
    let busy = 0;
    for (const claim of this.#held.values()) busy += claim.parked ? 0 : 1;
    return busy;
  }

  /** Returns the claim on a task, if it is held. */
  get(taskId: string): C | undefined {
    return this.#held.get(taskId);
  }

  /** Says what a delivery of this attempt means. */
  judge({ taskId, attempt }: ClaimKey): Verdict<C> {
    const claim = this.#held.get(taskId);
    if (claim?.attempt === attempt) return { kind: "known", claim };
    const older = claim !== undefined && attempt < claim.attempt;
    if (older || this.#ended.has(keyOf(taskId, attempt))) return { kind: "past" };
    return { kind: "new", replaces: claim };
  }

  /** Adds a claim that was judged new. */
  add(claim: C): void {
    this.#held.set(claim.taskId, claim);
  }

  /** Forgets a claim that was lost; should the fabric send it again, it is new. */
  drop(claim: C): boolean {
    return this.#held.get(claim.taskId) === claim && this.#held.delete(claim.taskId);
  }

  /** Ends a claim for good; should the fabric send it again, it is past. */
  end(claim: C): void {
    this.drop(claim);
    this.#ended.add(keyOf(claim.taskId, claim.attempt));
    for (const oldest of this.#ended) {
      if (this.#ended.size <= REMEMBERED) break;
      this.#ended.delete(oldest);
    }
  }

  /**
   * Returns the claims that are held here but not by the fabric's account.
   *
   * One that is ending is left out: the answer to its last frame says what became of it.
   */
  missing(owned: readonly ClaimKey[]): C[] {
    const keys = new Set(owned.map(({ taskId, attempt }) => keyOf(taskId, attempt)));
    return this.held.filter((c) => !c.ending && !keys.has(keyOf(c.taskId, c.attempt)));
  }
}

/** No id contains a blank. */
function keyOf(taskId: string, attempt: bigint): string {
  return `${taskId} ${attempt}`;
}
