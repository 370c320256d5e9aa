import { type Duration, durationMs } from "@bufbuild/protobuf/wkt";

/** Lease that is assumed when the server names none, in milliseconds; the server's default. */
const DEFAULT_LEASE_MS = 15_000;

/** Returns the length of a lease in milliseconds. */
export function leaseMs(lease: Duration | undefined): number {
  return (lease && durationMs(lease)) || DEFAULT_LEASE_MS;
}

/**
 * How long a late answer is waited for, in milliseconds.
 *
 * A program that kept the event loop busy finds its timers due before it has read what came.
 */
const GRACE_MS = 100;

/** Says when a heartbeat is due, and when the silence has lasted too long. */
export class Pulse {
  #beat: NodeJS.Timeout | undefined;
  #silence: NodeJS.Timeout | undefined;
  #patienceMs = 0;

  constructor(
    private readonly beat: () => void,
    private readonly silent: (milliseconds: number) => void,
    private readonly random: () => number,
  ) {}

  /** Expects the first sign of life within this time. */
  await(milliseconds: number): void {
    this.#patienceMs = milliseconds;
    this.heard();
  }

  /** Begins to beat at a third of the lease, a little early and never in step with others. */
  start(leaseMs: number): void {
    // Two thirds: a heartbeat went unanswered, and a third is left to reconnect inside the lease.
    this.await((leaseMs * 2) / 3);
    const schedule = () => {
      this.#beat = setTimeout(
        () => {
          this.beat();
          schedule();
        },
        (leaseMs / 3) * (0.8 + 0.2 * this.random()),
      );
    };
    schedule();
  }

  /** The server gave a sign of life. */
  heard(): void {
    clearTimeout(this.#silence);
    this.#silence = setTimeout(() => {
      this.#silence = setTimeout(() => this.silent(this.#patienceMs), GRACE_MS);
    }, this.#patienceMs);
  }

  /** Stops both timers. */
  stop(): void {
    clearTimeout(this.#beat);
    clearTimeout(this.#silence);
  }
}
