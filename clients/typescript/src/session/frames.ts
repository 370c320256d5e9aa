import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import {
  type ClientFrame,
  ClientFrameSchema,
  type OpenFrame,
} from "../gen/infrafabric/v1/session_client_pb.js";
import type { ReplyFrame } from "../gen/infrafabric/v1/session_server_pb.js";

/** What a client frame says, without its request id. */
export type FrameBody = NonNullable<MessageInitShape<typeof ClientFrameSchema>["frame"]>;

/** The kinds of answer that are not an error. */
type AnswerCase = Exclude<ReplyFrame["result"]["case"], "error" | undefined>;
type Answer<C extends AnswerCase> = Extract<ReplyFrame["result"], { case: C }>["value"];

/** The most frames that one stream message may carry; the contract's limit. */
export const MAX_BATCH_FRAMES = 64;
/** The most bytes that one stream message should carry; the contract's limit. */
export const MAX_BATCH_BYTES = 256 * 1024;

/** Builds a frame; one without a request id is answered only when it is refused. */
export function clientFrame(body: FrameBody, requestId = ""): ClientFrame {
  return create(ClientFrameSchema, { requestId, frame: body });
}

/** Builds the first frame of a stream. */
export function openingFrame(open: OpenFrame): ClientFrame {
  return clientFrame({ case: "open", value: open });
}

/** Tells how many bytes a frame takes on the wire. */
export function sizeOf(frame: ClientFrame): number {
  return toBinary(ClientFrameSchema, frame).length;
}

/**
 * Returns what a reply carries.
 *
 * @throws Error when the reply is of another kind than the frame calls for.
 */
export function answerOf<C extends AnswerCase>(reply: ReplyFrame, kind: C): Answer<C> {
  if (reply.result.case === kind) return reply.result.value as Answer<C>;
  throw new Error(`expected a ${kind} reply to ${reply.requestId}, got ${reply.result.case}`);
}
