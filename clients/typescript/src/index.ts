/** InfraFabric for Node.js: sessions, tasks and statuses over gRPC. */

export { type Clients, type ConnectionOptions, createClients, DEFAULT_URL } from "./clients.js";
export {
  BufferFullError,
  FabricError,
  type FieldViolation,
  SessionEndedError,
  TaskEndedError,
  TaskLostError,
} from "./errors.js";
export * from "./gen/infrafabric/v1/blocker_pb.js";
export * from "./gen/infrafabric/v1/breaker_pb.js";
export * from "./gen/infrafabric/v1/budget_pb.js";
export * from "./gen/infrafabric/v1/coordinator_claim_pb.js";
export * from "./gen/infrafabric/v1/coordinator_service_pb.js";
export * from "./gen/infrafabric/v1/coordinator_swarm_pb.js";
export * from "./gen/infrafabric/v1/coordinator_task_pb.js";
export * from "./gen/infrafabric/v1/entry_pb.js";
export * from "./gen/infrafabric/v1/error_pb.js";
export * from "./gen/infrafabric/v1/governor_breaker_pb.js";
export * from "./gen/infrafabric/v1/governor_budget_pb.js";
export * from "./gen/infrafabric/v1/governor_help_pb.js";
export * from "./gen/infrafabric/v1/governor_service_pb.js";
export * from "./gen/infrafabric/v1/help_pb.js";
export * from "./gen/infrafabric/v1/match_pb.js";
export * from "./gen/infrafabric/v1/notify_service_pb.js";
export * from "./gen/infrafabric/v1/session_client_pb.js";
export * from "./gen/infrafabric/v1/session_server_pb.js";
export * from "./gen/infrafabric/v1/status_pb.js";
export * from "./gen/infrafabric/v1/swarm_pb.js";
export * from "./gen/infrafabric/v1/task_pb.js";
export * from "./gen/infrafabric/v1/watch_pb.js";
export * from "./gen/infrafabric/v1/witness_service_pb.js";
export {
  type FailureKindName,
  MILESTONES,
  type Milestone,
  type RoleName,
  type StatusName,
  type TaskStateName,
} from "./names.js";
export type { FailureDetails, ProgressDetails, TaskHandle } from "./session/handle.js";
export type { ConnectionChange, SessionOptions } from "./session/options.js";
export { type CostDetails, type NewTask, Session, type StatusDetails } from "./session/session.js";
export { type WatchOptions, watchStatus, watchTasks } from "./watch.js";
