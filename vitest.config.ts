import { defineConfig } from "vitest/config";

/**
 * `unit` touches no network, no daemon and no shared directory; `integration` starts real daemons on this machine;
 * `drills` bring up whole masters and run what the README and the runbooks say.
 */
export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: "unit",
          include: ["test/unit/**/*.test.ts"],
          testTimeout: 20_000,
        },
      },
      {
        test: {
          name: "integration",
          include: ["test/integration/**/*.test.ts"],
          globalSetup: ["test/support/debian-tools.ts", "test/support/build.ts", "test/support/postgres-server.ts"],
          testTimeout: 60_000,
          hookTimeout: 120_000,
          maxWorkers: 2,
        },
      },
      {
        test: {
          name: "drills",
          include: ["test/drills/**/*.test.ts"],
          globalSetup: ["test/support/debian-tools.ts", "test/support/build.ts"],
          testTimeout: 300_000,
          hookTimeout: 300_000,
          maxWorkers: 1,
        },
      },
    ],
  },
});
