import { create } from "@bufbuild/protobuf";
import { anyPack, durationFromMs } from "@bufbuild/protobuf/wkt";
import { type Code, ConnectError } from "@connectrpc/connect";
import {
  BadRequestSchema,
  ErrorInfoSchema,
  RetryInfoSchema,
} from "../../src/gen/google/rpc/error_details_pb.js";
import { type Status, StatusSchema } from "../../src/gen/google/rpc/status_pb.js";
import {
  ErrorReason,
  ErrorReasonSchema,
  FabricError,
  type FieldViolation,
} from "../../src/index.js";

/** Builds what a server answers when it refuses a frame. */
export function refusedStatus(
  reason: ErrorReason,
  code: Code,
  retryAfterMs?: number,
  fields: readonly FieldViolation[] = [],
): Status {
  const name = ErrorReasonSchema.value[reason]?.name ?? "";
  const info = create(ErrorInfoSchema, { domain: "infrafabric", reason: name });
  const details = [anyPack(ErrorInfoSchema, info)];
  if (fields.length > 0) {
    const bad = create(BadRequestSchema, { fieldViolations: [...fields] });
    details.push(anyPack(BadRequestSchema, bad));
  }
  if (retryAfterMs !== undefined) {
    const retry = create(RetryInfoSchema, { retryDelay: durationFromMs(retryAfterMs) });
    details.push(anyPack(RetryInfoSchema, retry));
  }
  return create(StatusSchema, { code, message: `refused: ${ErrorReason[reason]}`, details });
}

/** Builds what a server ends a stream with. */
export function refusedCall(reason: ErrorReason, code: Code): ConnectError {
  const name = ErrorReasonSchema.value[reason]?.name ?? "";
  return new ConnectError(`refused: ${ErrorReason[reason]}`, code, undefined, [
    { desc: ErrorInfoSchema, value: { domain: "infrafabric", reason: name } },
  ]);
}

/** Builds what the client makes of a refusal. */
export function refusal(...refused: Parameters<typeof refusedStatus>): FabricError {
  return FabricError.fromStatus(refusedStatus(...refused));
}
