import { create } from "@bufbuild/protobuf";
import type { ConnectionOptions } from "../clients.js";
import type { Blocker } from "../gen/infrafabric/v1/blocker_pb.js";
import type { HaltFrame } from "../gen/infrafabric/v1/governor_breaker_pb.js";
import type { HelpRequest } from "../gen/infrafabric/v1/help_pb.js";
import { type OpenFrame, OpenFrameSchema } from "../gen/infrafabric/v1/session_client_pb.js";
import type { BroadcastMessage } from "../gen/infrafabric/v1/status_pb.js";
import type { Task } from "../gen/infrafabric/v1/task_pb.js";
import { ROLE_BY_NAME, type RoleName } from "../names.js";

/** The connection of a session came or went. */
export type ConnectionChange =
  | {
      readonly connected: true;
      /** Whether the claims were kept as they are. */
      readonly resumed: boolean;
      /** Number of this session of the swarm. */
      readonly epoch: bigint;
    }
  | {
      readonly connected: false;
      /** Why; undefined when the server ended the stream well. */
      readonly error: Error | undefined;
      /** When the next attempt is made, in milliseconds. */
      readonly retryInMs: number;
    };

/** Who joins the fabric, and how. */
export interface SessionOptions extends ConnectionOptions {
  /** Id of the swarm: 1 to 128 characters of `A-Z a-z 0-9 . _ : -`, first a letter or digit. */
  readonly swarmId: string;
  /** What the swarm can do, at most 64; empty leaves what is registered. */
  readonly capabilities?: readonly string[];
  /** How many tasks it works on at the same time, 1 to 64; default 1. */
  readonly slots?: number;
  /** Price of an hour, in micro-US-dollars; by default what is registered. */
  readonly costPerHourMicros?: bigint | number;
  /** Model that the swarm runs on; by default what is registered. */
  readonly model?: string;
  /** Account at a provider that the swarm shares with others; by default what is registered. */
  readonly credentialPool?: string;
  /** Default: `worker`. */
  readonly role?: RoleName;
  /** Task frames that may wait here for their consumer, 1 to 1000; default 2 per slot, at least 8. */
  readonly window?: number;
  /** Tasks to take in all: after them nothing more is asked for; by default there is no end. */
  readonly maxTasks?: number;
  /** Frames that may wait for an answer; default 1000. */
  readonly maxUnanswered?: number;
  /** Milliseconds that `Session.open` waits for the fabric; default 10,000. */
  readonly openTimeoutMs?: number;
  /** Closes the session when it is aborted. */
  readonly signal?: AbortSignal;
  /**
   * Decides whether an offered task is wanted; default: every one is.
   *
   * A wanted task is claimed when a slot is free, another one is declined.
   */
  readonly onOffer?: (task: Task) => boolean | Promise<boolean>;
  /** Called with each text for everyone. */
  readonly onBroadcast?: (message: BroadcastMessage) => void;
  /** Called with each incident, as an orchestrator; resolved when `resolveTime` is set. */
  readonly onAlert?: (blocker: Blocker) => void;
  /**
   * Called when all work must stop, because a circuit breaker is open. By then every claim is
   * given back and its signal aborted.
   */
  readonly onHalt?: (halt: HaltFrame) => void;
  /**
   * Called with each request for help that the swarm has to do with, at each change of it, and
   * again after a cut. The swarm is asked when it is among `askedSwarmIds` (`governor.acceptHelp`
   * takes the offer), and helps when among `helperSwarmIds`, until the state is ENDED; or
   * `swarmId` is its own.
   */
  readonly onHelpWanted?: (help: HelpRequest) => void;
  /** Called when the connection came or went. */
  readonly onConnection?: (change: ConnectionChange) => void;
}

/** What a stream shows of the one before it. */
export interface ResumeState {
  readonly token: string;
  readonly after: string;
}

/** Tells how many task frames may wait for their consumer. */
export function windowOf({ window, slots = 1 }: Pick<SessionOptions, "window" | "slots">): number {
  return window ?? Math.max(8, 2 * slots);
}

/** Builds what a stream opens with. */
export function openFrame(options: SessionOptions, resume: ResumeState, credit: number): OpenFrame {
  const frame = create(OpenFrameSchema, {
    swarmId: options.swarmId,
    capabilities: [...(options.capabilities ?? [])],
    slots: options.slots ?? 1,
    role: ROLE_BY_NAME[options.role ?? "worker"],
    resumeToken: resume.token,
    resumeAfter: resume.after,
    credit,
    model: options.model ?? "",
    credentialPool: options.credentialPool ?? "",
  });
  if (options.costPerHourMicros !== undefined) {
    frame.costPerHourMicros = BigInt(options.costPerHourMicros);
  }
  return frame;
}
