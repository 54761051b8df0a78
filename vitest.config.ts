import { defineConfig } from "vitest/config";

/** Drills that bring up masters without containers: they need neither Docker nor the daemons' sources. */
const EMBEDDED_DRILLS = [
  "test/drills/billing/**/*.test.ts",
  "test/drills/join-kill.test.ts",
  "test/drills/readme-tour.test.ts",
];

/** Set out loud, where an engine cannot be had; a set-up that fails without it fails the run. */
const areContainersSkipped = process.env["DRILLS"] === "skip";
if (areContainersSkipped) {
  process.stderr.write(
    "DRILLS=skip: of the drills, only those without containers run. The others prove nothing now.\n",
  );
}

/**
 * `unit` touches no network, no daemon and no shared directory; `integration` starts real daemons on this machine;
 * `faults` lets masters bill while they are killed, stopped and cut off, as a seed draws it; `drills` bring up whole federations, in containers and out of them, and run what the README and the handbook say.
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
          name: "faults",
          include: ["test/faults/**/*.test.ts"],
          globalSetup: ["test/support/postgres-server.ts"],
          testTimeout: 120_000,
          hookTimeout: 60_000,
          maxWorkers: 2,
        },
      },
      {
        test: {
          name: "drills",
          include: areContainersSkipped ? EMBEDDED_DRILLS : ["test/drills/**/*.test.ts"],
          globalSetup: [
            "test/support/debian-tools.ts",
            "test/support/build.ts",
            "test/support/postgres-server.ts",
            ...(areContainersSkipped ? [] : ["test/infra/global-setup.ts"]),
          ],
          testTimeout: 300_000,
          hookTimeout: 300_000,
          // They wait for daemons more than they compute.
          maxWorkers: 2,
        },
      },
    ],
  },
});
