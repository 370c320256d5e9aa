/** Longest wait before the first repeat, in milliseconds. */
const INITIAL_MS = 100;
/** Longest wait before any repeat, in milliseconds: a third of the default lease. */
export const MAX_BACKOFF_MS = 5_000;

/**
 * Returns how long to wait before a repeat: exponential backoff with full jitter.
 *
 * The whole range is drawn from, so that the clients of a server that comes back do not all call
 * at the same moment.
 *
 * @param failures - failures before this repeat, from 0
 * @param random - draws from [0, 1)
 * @param atLeastMs - what the server asked for
 * @param maxMs - the most of what is drawn
 * @returns milliseconds
 */
export function backoffMs(
  failures: number,
  random: () => number,
  atLeastMs = 0,
  maxMs = MAX_BACKOFF_MS,
): number {
  return atLeastMs + random() * Math.min(maxMs, INITIAL_MS * 2 ** failures);
}
