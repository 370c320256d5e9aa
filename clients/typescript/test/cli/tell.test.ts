import { create } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import type { Io } from "../../src/cli/io.js";
import { tellHalt, tellHelp } from "../../src/cli/tell.js";
import { HaltFrameSchema } from "../../src/gen/infrafabric/v1/governor_breaker_pb.js";
import { HelpRequestSchema, HelpState } from "../../src/gen/infrafabric/v1/help_pb.js";

/** Returns what people read. */
function said(tell: (io: Io) => void): string {
  const lines: string[] = [];
  tell({
    json: false,
    signal: new AbortController().signal,
    emit: (_record, text) => lines.push(text),
    note: (text) => lines.push(text),
    error: ({ message }) => lines.push(message),
  });
  return lines.join("\n");
}

test("G6: who must halt is told why, and what lets it go on", () => {
  const halt = create(HaltFrameSchema, { breaker: { detail: "3 failures in a row" } });
  expect(said((io) => tellHalt(halt, io))).toBe(
    "halted: 3 failures in a row; no work until somebody resets the breaker",
  );
});

test("G9: who is asked for help is told what it may cost, and how to accept", () => {
  const help = create(HelpRequestSchema, {
    helpId: "h1",
    swarmId: "amy",
    taskId: "key",
    reason: "the vault does not open",
    needs: ["vault", "rotation"],
    budgetMicros: 1_000_000n,
    spentMicros: 250_500n,
    state: HelpState.OPEN,
    helperSwarmIds: ["ben"],
    askedSwarmIds: ["cy"],
  });
  const told = "help h1 open: amy needs vault, rotation in key - the vault does not open";
  const paid = "(0.2505 of 1.00 USD spent) (helped by ben)";
  expect(said((io) => tellHelp(help, "ben", io, "accept"))).toBe(`${told} ${paid}`);
  expect(said((io) => tellHelp(help, "cy", io, "accept"))).toBe(
    `${told} ${paid} (you are asked: accept h1)`,
  );
});
