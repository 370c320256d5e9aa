import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

/** Where the package is. */
export const PACKAGE = fileURLToPath(new URL("../..", import.meta.url));

/** Builds the package once for all tests, as some run what is built. */
export async function setup(): Promise<void> {
  const compiler = `${PACKAGE}/node_modules/.bin/tsc`;
  await promisify(execFile)(compiler, ["--project", "tsconfig.build.json"], { cwd: PACKAGE });
}
