type Waiter<T> = {
  readonly resolve: (result: IteratorResult<T, undefined>) => void;
  readonly reject: (error: Error) => void;
};

/**
 * A queue that consumers wait on; each item goes to one of them.
 *
 * It has no bound of its own: what is put in is bounded by the credit that is given out.
 */
export class TaskQueue<T> {
  readonly #items: T[] = [];
  readonly #waiters: Waiter<T>[] = [];
  #end: { readonly error: Error | undefined } | undefined;

  /** @param onTaken - called after a consumer took an item */
  constructor(private readonly onTaken: () => void) {}

  /** How many items wait. */
  get size(): number {
    return this.#items.length;
  }

  push(item: T): void {
    if (this.#end !== undefined) return;
    const waiter = this.#waiters.shift();
    if (waiter === undefined) {
      this.#items.push(item);
      return;
    }
    waiter.resolve({ done: false, value: item });
    this.onTaken();
  }

  /** Takes an item back before a consumer got it; tells whether that was possible. */
  remove(item: T): boolean {
    const index = this.#items.indexOf(item);
    return index >= 0 && this.#items.splice(index, 1).length > 0;
  }

  /**
   * Waits for an item; done after the end.
   *
   * @throws the error that the queue ended with, once it is empty
   */
  next(): Promise<IteratorResult<T, undefined>> {
    const [item] = this.#items.splice(0, 1);
    if (item !== undefined) {
      this.onTaken();
      return Promise.resolve({ done: false, value: item });
    }
    if (this.#end === undefined) {
      return new Promise((resolve, reject) => this.#waiters.push({ resolve, reject }));
    }
    const { error } = this.#end;
    return error === undefined
      ? Promise.resolve({ done: true, value: undefined })
      : Promise.reject(error);
  }

  /** Ends the queue for good: items that nobody took are dropped. */
  end(error?: Error): void {
    if (this.#end !== undefined) return;
    this.#end = { error };
    this.#items.length = 0;
    for (const waiter of this.#waiters.splice(0)) {
      if (error === undefined) waiter.resolve({ done: true, value: undefined });
      else waiter.reject(error);
    }
  }
}
