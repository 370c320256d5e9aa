import { expect, test } from "vitest";
import { plain } from "../../src/cli/io.js";

test("U2: what other agents say does not reach the terminal as control characters", () => {
  expect(plain("a\u001b[2Jb\nc\u202ed\u{1f600} é")).toBe("a\\x1b[2Jb\\x0ac\\u{202e}d😀 é");
});
