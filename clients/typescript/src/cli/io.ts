import type { DescMessage, JsonObject, JsonValue, MessageShape } from "@bufbuild/protobuf";
import { toJson } from "@bufbuild/protobuf";
import { FabricError, SessionEndedError } from "../errors.js";
import { ErrorReasonSchema } from "../gen/infrafabric/v1/error_pb.js";

/** What a command's exit says; part of the interface, see the README. */
export const EXIT = {
  /** Done. */
  ok: 0,
  /** Refused by the fabric, or the work failed. */
  failed: 1,
  /** The command line is wrong. */
  usage: 2,
  /** The fabric cannot be reached. */
  unreachable: 3,
} as const;

/** Something to tell: a record for programs and a text for people. */
export type Told = readonly [record: JsonObject, text: string];

/** Where a command writes to, and when it has to stop. */
export interface Io {
  /** Whether programs read what is written. */
  readonly json: boolean;
  /** Aborted by SIGINT, SIGTERM, or when nobody reads the output any more. */
  readonly signal: AbortSignal;
  /** Writes a line to standard output: the record with `--json`, else the text. */
  emit(...told: Told): void;
  /** Writes a line to standard error. */
  note(text: string): void;
  /** Writes an error to standard error: as a record with `--json`, else as text. */
  error(error: Error): void;
}

/** Returns an Io that writes text, or one JSON object a line. */
export function ioOf(json: boolean, signal: AbortSignal): Io {
  const line = ([record, text]: Told) => `${json ? JSON.stringify(record) : text}\n`;
  return {
    json,
    signal,
    emit: (record, text) => process.stdout.write(line([record, plain(text)])),
    note: (text) => process.stderr.write(`${text}\n`),
    error: (error) => process.stderr.write(line(toldOf(error))),
  };
}

/**
 * Returns a text on one line, with every character that does not print spelled out: what comes
 * from other agents must not move a person's cursor or disguise itself.
 */
export function plain(text: string): string {
  return text.replaceAll(/[\p{C}\p{Zl}\p{Zp}]/gu, (char) => {
    const code = char.codePointAt(0) ?? 0;
    return code < 0x100 ? `\\x${code.toString(16).padStart(2, "0")}` : `\\u{${code.toString(16)}}`;
  });
}

/** Returns a message as JSON with the field names of the contract. */
export function record<Desc extends DescMessage>(
  schema: Desc,
  message: MessageShape<Desc>,
): JsonObject {
  const json: JsonValue = toJson(schema, message, { useProtoFieldName: true });
  return json as JsonObject;
}

/** Puts the words of a line together and leaves out what is empty. */
export function words(...parts: readonly (string | false | undefined)[]): string {
  return parts.filter((part) => part).join(" ");
}

/** Returns an amount of micro-US-dollars in US dollars, with the decimals that it needs, at least two. */
export function usd(micros: bigint): string {
  return (Number(micros) / 1e6).toFixed(6).replace(/(\.\d\d\d*?)0+$/, "$1");
}

/** Tells an error, with its reason and the fields that it names. */
export function toldOf(error: Error): Told {
  const source = error instanceof SessionEndedError ? error.cause : error;
  const refusal = source instanceof FabricError ? source : undefined;
  const reason = refusal?.reason ? ErrorReasonSchema.value[refusal.reason]?.name : undefined;
  const fields = (refusal?.fields ?? []).map(({ field, description }) => ({ field, description }));
  const lines = fields
    .map(({ field, description }) => `${field}: ${description}`)
    .filter((line) => !error.message.includes(line))
    .map((line) => `  ${line}`);
  return [
    { event: "error", error: error.message, reason: reason ?? "", fields },
    [error.message, ...lines].join("\n"),
  ];
}
