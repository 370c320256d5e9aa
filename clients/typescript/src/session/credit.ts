/** What decides how many task frames are welcome. */
export interface Demand {
  /** Task frames that may wait for their consumer. */
  readonly window: number;
  /** Tasks that wait for their consumer now, and offers that are being decided on. */
  readonly waiting: number;
  /** Claims that may still be added; infinite unless the session is to take only so many. */
  readonly remaining: number;
  /** Claims from an earlier stream that this one has not delivered again yet. */
  readonly returning: number;
}

/**
 * How many task frames the server may send now.
 *
 * Credit that was given cannot be taken back, so it is given only as far as there is room.
 */
export class Credit {
  #outstanding = 0;

  /** A stream opens: returns the credit to open it with. */
  open(demand: Demand): number {
    this.#outstanding = wanted(demand);
    return this.#outstanding;
  }

  /** A task frame came; what is owned comes even without credit. */
  used(): void {
    this.#outstanding = Math.max(0, this.#outstanding - 1);
  }

  /** Returns how much to add so that the server may send what there is room for. */
  topUp(demand: Demand): number {
    const missing = Math.max(0, wanted(demand) - this.#outstanding);
    this.#outstanding += missing;
    return missing;
  }
}

function wanted({ window, waiting, remaining, returning }: Demand): number {
  return Math.max(0, Math.min(window - waiting, remaining + returning));
}
