import { type Blocker, BlockerSchema } from "../gen/infrafabric/v1/blocker_pb.js";
import { type HaltFrame, HaltFrameSchema } from "../gen/infrafabric/v1/governor_breaker_pb.js";
import { type HelpRequest, HelpRequestSchema, HelpState } from "../gen/infrafabric/v1/help_pb.js";
import type { ConnectionChange } from "../session/options.js";
import { type Io, record, usd, words } from "./io.js";

/** Tells that the connection came or went. */
export function tellConnection(change: ConnectionChange, swarmId: string, io: Io): void {
  if (change.connected) {
    io.emit(
      { event: "connected", swarm_id: swarmId, epoch: `${change.epoch}`, resumed: change.resumed },
      `${swarmId} is connected${change.resumed ? " again" : ""}`,
    );
  } else {
    const error = change.error?.message ?? "";
    io.emit(
      { event: "disconnected", swarm_id: swarmId, error, retry_in_ms: Math.ceil(change.retryInMs) },
      words("no connection; trying again", error !== "" && `(${error})`),
    );
  }
}

/** Tells an orchestrator who is blocked, and who goes on. */
export function tellAlert(blocker: Blocker, io: Io): void {
  const state = blocker.resolveTime === undefined ? "is blocked" : "goes on";
  io.emit(
    { event: "blocker", blocker: record(BlockerSchema, blocker) },
    words(`${blocker.swarmId} ${state}`, blocker.taskId, `- ${blocker.description}`),
  );
}

/** Tells a session why it gets no work, and until when. */
export function tellHalt(halt: HaltFrame, io: Io): void {
  const why = halt.breaker?.detail || "its breaker is open";
  io.emit(
    { event: "halt", halt: record(HaltFrameSchema, halt) },
    `halted: ${why}; no work until somebody resets the breaker`,
  );
}

/** Tells how a request for help stands; `answer` is how whoever is asked accepts. */
export function tellHelp(help: HelpRequest, swarmId: string, io: Io, answer: string): void {
  const { helpId, taskId, state, needs, askedSwarmIds, helperSwarmIds } = help;
  const wanted = `${help.swarmId} needs ${needs.join(", ")} in ${taskId} - ${help.reason}`;
  const spent = `(${usd(help.spentMicros)} of ${usd(help.budgetMicros)} USD spent)`;
  const role = askedSwarmIds.includes(swarmId) && `(you are asked: ${answer} ${helpId})`;
  const helpers = helperSwarmIds.length > 0 && `(helped by ${helperSwarmIds.join(", ")})`;
  io.emit(
    { event: "help_wanted", help: record(HelpRequestSchema, help) },
    words(`help ${helpId}`, `${HelpState[state]?.toLowerCase()}:`, wanted, spent, helpers, role),
  );
}
