/**
 * What can go wrong, in one tree:
 *
 *     Error
 *     ├─ FabricError         the fabric refused a call or a frame, or could not be reached
 *     ├─ TaskLostError       a claim ended without the worker's doing; reason of TaskHandle.signal
 *     ├─ TaskEndedError      the worker had already ended the task itself
 *     ├─ SessionEndedError   the session is over: closed, fenced or stopped
 *     └─ BufferFullError     too much waits for the connection
 *
 * Programs match on classes and on `FabricError.reason`, never on text.
 */

import type { DescMessage, MessageShape } from "@bufbuild/protobuf";
import { anyUnpack, durationMs } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError } from "@connectrpc/connect";
import {
  BadRequestSchema,
  ErrorInfoSchema,
  RetryInfoSchema,
} from "./gen/google/rpc/error_details_pb.js";
import type { Status as RpcStatus } from "./gen/google/rpc/status_pb.js";
import { ErrorReason, ErrorReasonSchema } from "./gen/infrafabric/v1/error_pb.js";
import type { RevokeReason } from "./gen/infrafabric/v1/session_server_pb.js";

/** One field that breaks its rule. */
export interface FieldViolation {
  /** Path of the field, for example `task.title`. */
  readonly field: string;
  /** The rule, for people. */
  readonly description: string;
}

/** Domain of the error details that are the fabric's own. */
const DOMAIN = "infrafabric";

/** Codes of a transport that failed, as long as no detail says that the fabric itself answered. */
const TRANSPORT_CODES: ReadonlySet<Code> = new Set([
  Code.Aborted,
  Code.Canceled,
  Code.DeadlineExceeded,
  Code.Internal,
  Code.Unavailable,
  Code.Unknown,
]);

type FindDetail = <Desc extends DescMessage>(schema: Desc) => MessageShape<Desc> | undefined;

/** The fabric refused a call or a frame, or could not be reached. */
export class FabricError extends Error {
  override readonly name = "FabricError";

  private constructor(
    message: string,
    /** Canonical gRPC code. */
    readonly code: Code,
    /** Why, for programs; UNSPECIFIED when the fabric itself did not answer. */
    readonly reason: ErrorReason,
    /** Fields that break their rule, with INVALID_FIELD. */
    readonly fields: readonly FieldViolation[],
    /** Milliseconds after which a repeat may succeed; undefined when a repeat does not help. */
    readonly retryAfterMs: number | undefined,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }

  /** Whether the fabric gave no answer at all. */
  get unreachable(): boolean {
    return this.reason === ErrorReason.UNSPECIFIED && TRANSPORT_CODES.has(this.code);
  }

  /** Reads what a failed call threw. */
  static from(thrown: unknown): FabricError {
    if (thrown instanceof FabricError) return thrown;
    const error = ConnectError.from(thrown);
    return FabricError.#read(
      error.rawMessage,
      error.code,
      (schema) => error.findDetails(schema)[0],
      {
        cause: thrown,
      },
    );
  }

  /** Reads the status with which a frame of a session was refused. */
  static fromStatus(status: RpcStatus): FabricError {
    return FabricError.#read(status.message, status.code, (schema) => {
      for (const detail of status.details) {
        const unpacked = anyUnpack(detail, schema);
        if (unpacked !== undefined) return unpacked;
      }
      return undefined;
    });
  }

  /** Says that the fabric gave no answer. */
  static unanswered(message: string): FabricError {
    return new FabricError(message, Code.Unavailable, ErrorReason.UNSPECIFIED, [], undefined);
  }

  static #read(message: string, code: Code, find: FindDetail, options?: ErrorOptions): FabricError {
    const info = find(ErrorInfoSchema);
    const known = info?.domain === DOMAIN ? info.reason : "";
    const reason = ErrorReasonSchema.values.find((value) => value.name === known)?.number;
    const delay = find(RetryInfoSchema)?.retryDelay;
    return new FabricError(
      message,
      code,
      reason ?? ErrorReason.UNSPECIFIED,
      (find(BadRequestSchema)?.fieldViolations ?? []).map(({ field, description }) => ({
        field,
        description,
      })),
      delay === undefined ? undefined : durationMs(delay),
      options,
    );
  }
}

/** A claim ended without the worker's doing: what is still done for it is void. */
export class TaskLostError extends Error {
  override readonly name = "TaskLostError";

  constructor(
    /** The task. */
    readonly taskId: string,
    /** The attempt that is void. */
    readonly attempt: bigint,
    /** Why; UNSPECIFIED when the client learnt only that the claim is gone. */
    readonly reason: RevokeReason,
    detail: string,
    options?: ErrorOptions,
  ) {
    super(`attempt ${attempt} of task ${taskId} is lost: ${detail}`, options);
  }
}

/** The worker has already completed, failed or released the task, or is about to. */
export class TaskEndedError extends Error {
  override readonly name = "TaskEndedError";

  constructor(readonly taskId: string) {
    super(`task ${taskId} was already completed, failed or released by this worker`);
  }
}

/** The session is over; `cause` says why unless it was closed here. */
export class SessionEndedError extends Error {
  override readonly name = "SessionEndedError";
}

/** Too much waits for the connection; nothing was sent. */
export class BufferFullError extends Error {
  override readonly name = "BufferFullError";
}
