import { Code } from "@connectrpc/connect";
import type { FabricError } from "../errors.js";
import { ErrorReason } from "../gen/infrafabric/v1/error_pb.js";
import { ClosingAction } from "../gen/infrafabric/v1/session_server_pb.js";

/**
 * What follows the end of a stream.
 *
 * - `resume`: reconnect and show the token, to keep the claims
 * - `restart`: reconnect without it
 * - `stop`: do not reconnect
 */
export type NextStep = "resume" | "restart" | "stop";

const BY_ACTION: Readonly<Partial<Record<ClosingAction, NextStep>>> = {
  [ClosingAction.RESUME]: "resume",
  [ClosingAction.RESTART]: "restart",
  [ClosingAction.STOP]: "stop",
};

const BY_REASON: Readonly<Partial<Record<ErrorReason, NextStep>>> = {
  [ErrorReason.SESSION_FENCED]: "stop",
  [ErrorReason.LIMIT_REACHED]: "stop",
  [ErrorReason.SESSION_EXPIRED]: "restart",
};

/** Codes with which the fabric says that it would refuse the same opening again. */
const FINAL_CODES: ReadonlySet<Code> = new Set([
  Code.AlreadyExists,
  Code.FailedPrecondition,
  Code.InvalidArgument,
  Code.NotFound,
  Code.OutOfRange,
  Code.PermissionDenied,
  Code.Unauthenticated,
  Code.Unimplemented,
]);

/**
 * Decides what follows the end of a stream.
 *
 * @param closing - what the server announced, if it did
 * @param error - how the stream failed; undefined when it ended well
 */
export function afterStream(
  closing: ClosingAction | undefined,
  error: FabricError | undefined,
): NextStep {
  const announced = closing === undefined ? undefined : BY_ACTION[closing];
  if (error === undefined || announced === "stop") return announced ?? "resume";
  // Without a reason it is not the fabric that speaks, but something on the way to it.
  if (error.reason !== ErrorReason.UNSPECIFIED && FINAL_CODES.has(error.code)) return "stop";
  return BY_REASON[error.reason] ?? announced ?? "resume";
}
