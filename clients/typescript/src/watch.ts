import type { Clients } from "./clients.js";
import { FabricError } from "./errors.js";
import { leaves } from "./failover.js";
import type { TaskEvent } from "./gen/infrafabric/v1/coordinator_task_pb.js";
import { ErrorReason } from "./gen/infrafabric/v1/error_pb.js";
import type { StatusEvent } from "./gen/infrafabric/v1/notify_service_pb.js";
import { backoffMs } from "./session/backoff.js";
import { sleep } from "./session/promises.js";

/** Where a watch begins and when it ends. */
export interface WatchOptions {
  /** Cursor of the last event that was handled; by default the watch begins with a snapshot. */
  readonly after?: string;
  /** Ends the watch when it is aborted. */
  readonly signal?: AbortSignal;
  /** Milliseconds to wait for the first events before giving up; default 10,000. */
  readonly connectTimeoutMs?: number;
  /** Draws from [0, 1) for jitter; default `Math.random`. */
  readonly random?: () => number;
}

/**
 * Watches the statuses of all swarms: a snapshot, then each change; through cuts, without loss.
 *
 * A `gap` event says that changes were missed and that a new snapshot follows; so does a snapshot
 * event after others that were not followed by `snapshotEnd`.
 *
 * @throws FabricError when the fabric refuses, or does not answer the first time
 */
export function watchStatus(
  { notify }: Clients,
  options: WatchOptions = {},
): AsyncGenerator<StatusEvent, void> {
  return follow((afterCursor, call) => notify.watchStatus({ afterCursor }, call), options);
}

/** Watches all tasks; as `watchStatus`. */
export function watchTasks(
  { coordinator }: Clients,
  options: WatchOptions = {},
): AsyncGenerator<TaskEvent, void> {
  return follow((afterCursor, call) => coordinator.watchTasks({ afterCursor }, call), options);
}

type Open<E> = (
  afterCursor: string,
  call: { readonly signal?: AbortSignal },
) => AsyncIterable<{ readonly events: readonly E[] }>;

async function* follow<E extends { readonly cursor: string }>(
  open: Open<E>,
  { after = "", signal, connectTimeoutMs = 10_000, random = Math.random }: WatchOptions,
): AsyncGenerator<E, void> {
  const call = signal === undefined ? {} : { signal };
  const giveUpAt = performance.now() + connectTimeoutMs;
  const place: Place = { cursor: after, failures: 0, connected: false };
  while (!signal?.aborted) {
    let failure: FabricError | undefined;
    try {
      yield* eventsOf(open(place.cursor, call), place);
    } catch (error) {
      failure = FabricError.from(error);
    }
    if (signal?.aborted) return;
    const delay = backoffMs(place.failures, random, failure?.retryAfterMs);
    const late = !place.connected && performance.now() + delay > giveUpAt;
    if (failure !== undefined && (late || final(failure))) throw failure;
    place.failures += 1;
    await sleep(delay, signal).catch(() => undefined);
  }
}

/** Where a watch stands. */
interface Place {
  cursor: string;
  /** Streams that failed since the last event. */
  failures: number;
  /** Whether there was ever an event. */
  connected: boolean;
}

/** Yields the events of one stream and keeps the place. */
async function* eventsOf<E extends { readonly cursor: string }>(
  stream: AsyncIterable<{ readonly events: readonly E[] }>,
  place: Place,
): AsyncGenerator<E, void> {
  for await (const { events } of stream) {
    place.failures = 0;
    place.connected = true;
    for (const event of events) {
      yield event;
      // Within a snapshot there is none: one that was cut is sent anew.
      place.cursor = event.cursor || place.cursor;
    }
  }
}

/** Tells whether resuming cannot help. */
function final(error: FabricError): boolean {
  const overflow = error.reason === ErrorReason.QUEUE_OVERFLOW;
  return !(leaves(error) || overflow || error.retryAfterMs !== undefined);
}
