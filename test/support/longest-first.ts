import { BaseSequencer, type TestSpecification } from "vitest/node";

/**
 * The files that take longest, the longest of each project first, as a whole run measured them: one that begins last keeps
 * the other workers waiting for it. On a new machine nothing else tells them from short ones but their size.
 */
export const LONGEST = [
  "test/drills/federation/federation.test.ts",
  "test/drills/recovery/boxes.test.ts",
  "test/drills/federation/three-masters.test.ts",
  "test/drills/join-kill.test.ts",
  "test/drills/federation/install.test.ts",
  "test/drills/recovery/standby-docker.test.ts",
  "test/drills/join-docker.test.ts",
  "test/drills/buckets/two-gateways.test.ts",
  "test/drills/recovery/classify.test.ts",
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
  "test/drills/recovery/standby.test.ts",
  "test/drills/recovery/truncation.test.ts",
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
  "test/faults/recovery/interrupted.test.ts",
  "test/faults/recovery/frozen-agent.test.ts",
  "test/faults/recovery/failover-boxes.test.ts",
  "test/faults/recovery/failover-killed.test.ts",
  "test/faults/nats/losses.test.ts",
  "test/faults/nats/joiners.test.ts",
  "test/integration/runtime/embedded-postgres.test.ts",
  "test/integration/pinset/snapshot-crash.test.ts",
  "test/integration/stack/leave.test.ts",
  "test/integration/billing/deduction.test.ts",
  "test/integration/billing/deduction-crash.test.ts",
  "test/integration/server/embedded.test.ts",
  "test/integration/stack/join.test.ts",
  "test/integration/billing/deduction-race.test.ts",
  "test/integration/stack/resync.test.ts",
  "test/integration/stack/drill.test.ts",
  "test/integration/stack/daemon.test.ts",
  "test/integration/membership/kv-store.test.ts",
  "test/integration/server/serve.test.ts",
  "test/integration/failover/failover.test.ts",
  "test/integration/recovery/rungs.test.ts",
  "test/integration/pinset/processes.test.ts",
  "test/unit/recovery/simulator.test.ts",
  "test/unit/pinset/tamper.test.ts",
  "test/unit/config/settings-file.test.ts",
  "test/unit/identity/eip712/libraries.test.ts",
  "test/unit/commands/restore.test.ts",
  "test/unit/identity/eip712/fuzz.test.ts",
] as const;

function rankOf({ moduleId }: TestSpecification): number {
  const rank = LONGEST.findIndex((path) => moduleId.endsWith(`/${path}`));
  return rank === -1 ? LONGEST.length : rank;
}

/** Runs one project after the other, in each the files of `LONGEST` first, in its order, and the others as vitest would. */
export class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    // oxlint-disable-next-line unicorn/no-array-sort -- it is the sequencer's, of no array
    const others = await super.sort(files);
    // A worker that goes from one project to another loads every module again.
    return others.toSorted(
      (one, other) => one.project.name.localeCompare(other.project.name) || rankOf(one) - rankOf(other),
    );
  }
}
