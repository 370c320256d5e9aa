/** The short names that people use for the values of the contract's enums. */

import { SessionRole } from "./gen/infrafabric/v1/session_client_pb.js";
import { Status } from "./gen/infrafabric/v1/status_pb.js";
import { FailureKind, TaskState } from "./gen/infrafabric/v1/task_pb.js";

/** The five statuses of a swarm. */
export const STATUS_BY_NAME = {
  idle: Status.IDLE,
  busy: Status.BUSY,
  blocked: Status.BLOCKED,
  completed: Status.COMPLETED,
  help: Status.HELP,
} as const;

/** What a swarm is doing, in one word. */
export type StatusName = keyof typeof STATUS_BY_NAME;

/** The states of a task. */
export const TASK_STATE_BY_NAME = {
  blocked: TaskState.BLOCKED,
  available: TaskState.AVAILABLE,
  claimed: TaskState.CLAIMED,
  completed: TaskState.COMPLETED,
  failed: TaskState.FAILED,
  cancelled: TaskState.CANCELLED,
} as const;

/** Where a task is in its life, in one word. */
export type TaskStateName = keyof typeof TASK_STATE_BY_NAME;

export const ROLE_BY_NAME = {
  worker: SessionRole.WORKER,
  orchestrator: SessionRole.ORCHESTRATOR,
} as const;

/** A `worker` takes tasks; an `orchestrator` receives blocker alerts and no tasks. */
export type RoleName = keyof typeof ROLE_BY_NAME;

export const FAILURE_KIND_BY_NAME = {
  retryable: FailureKind.RETRYABLE,
  permanent: FailureKind.PERMANENT,
  provider_quota: FailureKind.PROVIDER_QUOTA,
  provider_rate: FailureKind.PROVIDER_RATE,
} as const;

/**
 * `retryable`: another attempt may succeed; `permanent`: none can, the task fails for good;
 * `provider_quota`, `provider_rate`: the swarm's provider has no quota left, or was asked too
 * often. That is not the task's failure: others may have it, and the credential pool rests.
 */
export type FailureKindName = keyof typeof FAILURE_KIND_BY_NAME;

/** The milestones that progress is reported at, in percent. */
export const MILESTONES = [0, 25, 50, 75, 100] as const;

/** A milestone, in percent. */
export type Milestone = (typeof MILESTONES)[number];
