/** Lets a promise be left alone: awaited it still throws, not awaited it does not end the process. */
export function optional<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => undefined);
  return promise;
}

/**
 * Waits.
 *
 * @throws the reason of the signal, as soon as it is aborted
 */
export function sleep(milliseconds: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const abort = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", abort);
      resolve();
    }, milliseconds);
    signal?.addEventListener("abort", abort, { once: true });
  });
}

/** A promise that is settled from outside. */
export class Deferred {
  resolve: () => void = () => undefined;
  reject: (error: Error) => void = () => undefined;
  readonly promise = optional(
    new Promise<void>((resolve, reject) => {
      this.resolve = resolve;
      this.reject = reject;
    }),
  );
}

/** Calls a hook; what it throws is not the caller's and surfaces as an uncaught exception. */
export function callHook<T>(hook: ((value: T) => void) | undefined, value: T): void {
  try {
    hook?.(value);
  } catch (error) {
    throwLater(error);
  }
}

/** Makes an error an uncaught exception of the process. */
export function throwLater(error: unknown): void {
  queueMicrotask(() => {
    throw error;
  });
}
