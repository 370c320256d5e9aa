/** Things that came in, for tests to wait for in order. */
export class Mailbox<T> {
  readonly #items: T[] = [];
  #wake: () => void = () => undefined;

  put(item: T): void {
    this.#items.push(item);
    this.#wake();
  }

  /** Takes the first item that matches; leaves the others where they are. */
  async take(matches: (item: T) => boolean = () => true): Promise<T> {
    for (;;) {
      const index = this.#items.findIndex(matches);
      const [item] = index < 0 ? [] : this.#items.splice(index, 1);
      if (item !== undefined) return item;
      await new Promise<void>((resolve) => {
        const others = this.#wake;
        this.#wake = () => {
          others();
          resolve();
        };
      });
    }
  }

  /** What was not taken, so far. */
  get rest(): readonly T[] {
    return this.#items;
  }
}

/** Resolves when a signal is aborted. */
export function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    signal.addEventListener("abort", () => resolve(), { once: true });
  });
}
