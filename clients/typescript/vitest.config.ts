import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    globalSetup: "test/support/build.ts",
    // A test that hangs fails well within the time of a whole run.
    testTimeout: 30_000,
  },
});
