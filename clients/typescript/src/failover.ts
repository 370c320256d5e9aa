/** What the failure of a call at one server means for the others. */

import type { DescMethod } from "@bufbuild/protobuf";
import type { FabricError } from "./errors.js";
import { ErrorReason } from "./gen/infrafabric/v1/error_pb.js";

/**
 * The calls that change nothing, or nothing twice: what the contract calls safe to repeat. Those
 * with a request id are safe with one.
 */
const REPEATABLE: ReadonlySet<string> = new Set([
  "GetSwarm",
  "ListSwarms",
  "GetTask",
  "ListTasks",
  "FindQualifiedSwarm",
  "SetBudget",
  "GetBudgetReport",
  "GetCostReport",
  "TripCircuitBreaker",
  "ResetCircuitBreaker",
  "ListCircuitBreakers",
  "AcceptHelp",
  "ListHelpRequests",
  "ListEscalations",
  "AcknowledgeEscalation",
  "GetPolicy",
  "CheckPolicy",
  "GetStatus",
  "QueryEntries",
  "RegisterSwarm",
  "ClaimTask",
  "ReleaseTask",
  "ExtendClaim",
  "ReportProgress",
  "CompleteTask",
  "FailTask",
  "CancelTask",
  "PushTask",
  "BroadcastTask",
  "Notify",
]);

type Called = Pick<DescMethod, "name" | "input">;

/** Tells whether to go on at another server: this one is gone, about to stop, or cut off. */
export function leaves({ reason, unreachable }: FabricError): boolean {
  const ends = reason === ErrorReason.DRAINING || reason === ErrorReason.STORE_UNAVAILABLE;
  return unreachable || ends;
}

/** Tells whether a call that failed may be made again, at another server. */
export function repeats(failure: FabricError, method: Called, input: object): boolean {
  // Refused without effect, or with an effect that is not known.
  const refused = failure.reason === ErrorReason.DRAINING;
  return refused || (leaves(failure) && repeatable(method, input));
}

/** Tells whether the contract lets a call be repeated. */
export function repeatable(method: Called, input: object): boolean {
  if (!("requestId" in method.input.field)) return REPEATABLE.has(method.name);
  return "requestId" in input && Boolean(input.requestId);
}
