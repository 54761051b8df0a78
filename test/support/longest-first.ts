import { BaseSequencer, type TestSpecification } from "vitest/node";

/**
 * The files that take longest, the longest first, as a whole run measured them: one that begins last keeps the other
 * workers waiting for it. On a new machine nothing else tells them from short ones but their size.
 */
export const LONGEST = [
  "test/drills/federation/federation.test.ts",
  "test/drills/federation/three-masters.test.ts",
  "test/drills/join-kill.test.ts",
  "test/drills/federation/install.test.ts",
  "test/drills/join-docker.test.ts",
  "test/drills/buckets/two-gateways.test.ts",
  "test/drills/docker/templates.test.ts",
  "test/drills/operate/operate-docker.test.ts",
  "test/drills/buckets/two-gateways-docker.test.ts",
  "test/drills/pinset/restore-cluster.test.ts",
  "test/drills/readme-tour.test.ts",
  "test/drills/federation/rebuild.test.ts",
  "test/drills/docker/compose-apply.test.ts",
  "test/drills/join-docker-second.test.ts",
  "test/drills/join-docker-adopt.test.ts",
  "test/drills/buckets/clients.test.ts",
  "test/drills/buckets/two-gateways-kubo.test.ts",
  "test/drills/storage-node.test.ts",
  "test/drills/docker/upgrade.test.ts",
  "test/drills/docker/serve-storage.test.ts",
  "test/drills/operate/operate-on-cluster.test.ts",
  "test/drills/buckets/conditional-puts.test.ts",
  "test/faults/every-message.test.ts",
  "test/faults/seeds-1.test.ts",
  "test/faults/seeds-2.test.ts",
  "test/faults/seeds-3.test.ts",
  "test/faults/seeds-4.test.ts",
  "test/faults/nats/losses.test.ts",
  "test/faults/nats/joiners.test.ts",
  "test/integration/runtime/embedded-postgres.test.ts",
  "test/integration/stack/leave.test.ts",
  "test/integration/stack/join.test.ts",
  "test/integration/pinset/snapshot-crash.test.ts",
  "test/integration/billing/deduction-crash.test.ts",
  "test/integration/billing/deduction.test.ts",
  "test/integration/stack/drill.test.ts",
  "test/unit/pinset/tamper.test.ts",
  "test/integration/server/serve.test.ts",
] as const;

function rankOf({ moduleId }: TestSpecification): number {
  const rank = LONGEST.findIndex((path) => moduleId.endsWith(`/${path}`));
  return rank === -1 ? LONGEST.length : rank;
}

/** Runs the files of `LONGEST` first, in its order, and the others as vitest would. */
export class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    // oxlint-disable-next-line unicorn/no-array-sort -- it is the sequencer's, of no array
    const others = await super.sort(files);
    return others.toSorted((one, other) => rankOf(one) - rankOf(other));
  }
}
