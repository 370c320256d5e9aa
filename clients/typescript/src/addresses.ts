/** Returns the addresses that a url names: one, or several separated by commas or in a list. */
export function splitUrls(url: string | readonly string[]): readonly string[] {
  const urls = typeof url === "string" ? url.split(",").map((part) => part.trim()) : url;
  if (urls.length === 0) throw new TypeError("the fabric needs an address");
  return urls;
}

/** Takes items in turn, without end, beginning with any of them. */
export class Turns<T> {
  #place: number;

  constructor(
    private readonly items: readonly T[],
    random: () => number,
  ) {
    this.#place = items.length > 1 ? Math.floor(random() * items.length) : 0;
  }

  get size(): number {
    return this.items.length;
  }

  /** The item whose turn it is. */
  get current(): T {
    return this.items[this.#place] as T;
  }

  /** Gives the turn to the next one, if this one has it. */
  leave(item: T): void {
    if (item === this.current) this.#place = (this.#place + 1) % this.items.length;
  }
}
