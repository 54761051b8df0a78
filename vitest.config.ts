import { join } from "node:path";
import { defineConfig } from "vitest/config";
import { LongestFirst } from "./test/support/longest-first.ts";

/** Drills that bring up masters without containers: they need neither Docker nor the daemons' sources. */
const EMBEDDED_DRILLS = [
  "test/drills/billing/**/*.test.ts",
  "test/drills/buckets/clients.test.ts",
  "test/drills/buckets/conditional-puts.test.ts",
  "test/drills/buckets/large-body.test.ts",
  "test/drills/buckets/mixed-masters.test.ts",
  "test/drills/buckets/two-gateways.test.ts",
  "test/drills/join-kill.test.ts",
  "test/drills/readme-tour.test.ts",
  "test/drills/recovery/backup-commands.test.ts",
  "test/drills/recovery/classify.test.ts",
  "test/drills/recovery/truncation.test.ts",
];

/** Vitest's own second is over soon where others work on the machine, too. */
const PATIENT = { poll: { timeout: 45_000 } };

/** Set out loud, where an engine cannot be had; a set-up that fails without it fails the run. */
const areContainersSkipped = process.env["DRILLS"] === "skip";
if (areContainersSkipped) {
  process.stderr.write(
    "DRILLS=skip: of the drills, only those without containers run. The others prove nothing now.\n",
  );
}

// Processes of the tests start in half the time where what they are made of was compiled before, types taken out and all.
process.env["NODE_COMPILE_CACHE"] ??= join(import.meta.dirname, "node_modules/.cache/compiled");

/**
 * `unit` touches no network, no daemon and no shared directory; `integration` starts real daemons on this machine;
 * `faults` lets masters bill while they are killed, stopped and cut off, as a seed draws it; `drills` bring up whole federations, in containers and out of them, and run what the README and the handbook say.
 */
export default defineConfig({
  test: {
    sequence: { sequencer: LongestFirst },
    projects: [
      {
        test: {
          name: "unit",
          include: ["test/unit/**/*.test.ts"],
          testTimeout: 60_000,
          hookTimeout: 60_000,
          expect: PATIENT,
          // A third of their time went into importing the same modules again for each file. No test leaves state behind in them.
          isolate: false,
          maxWorkers: 2,
        },
      },
      {
        test: {
          name: "integration",
          include: ["test/integration/**/*.test.ts"],
          globalSetup: [
            "test/support/debian-tools.ts",
            "test/support/build.ts",
            "test/support/postgres-server.ts",
            "test/support/nats-binary.ts",
          ],
          testTimeout: 120_000,
          expect: PATIENT,
          hookTimeout: 120_000,
          maxWorkers: 2,
          isolate: false,
        },
      },
      {
        test: {
          name: "faults",
          include: ["test/faults/**/*.test.ts"],
          globalSetup: [
            "test/support/debian-tools.ts",
            "test/support/postgres-server.ts",
            "test/support/nats-binary.ts",
          ],
          testTimeout: 600_000,
          hookTimeout: 120_000,
          // More at once get no further: eight masters on two cores run into their timeouts.
          maxWorkers: 2,
        },
      },
      {
        test: {
          name: "drills",
          include: areContainersSkipped ? EMBEDDED_DRILLS : ["test/drills/**/*.test.ts"],
          globalSetup: [
            "test/support/debian-tools.ts",
            "test/support/drill-tools.ts",
            "test/support/build.ts",
            "test/support/postgres-server.ts",
            ...(areContainersSkipped ? [] : ["test/infra/global-setup.ts"]),
          ],
          testTimeout: 300_000,
          hookTimeout: 300_000,
          // They wait for daemons more than they compute; but what doctor asks has to answer in time, and with three does not.
          maxWorkers: 2,
        },
      },
    ],
  },
});
