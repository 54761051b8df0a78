import { formatCount } from "../lib/kernel/units.ts";
import type { CollectRun } from "../lib/stack/bucket-gc-run.ts";
import { defineCommand } from "../lib/terminal/command.ts";

function reportText(run: CollectRun): string {
  const would = run.dryRun ? "would be " : "";
  const lines = [
    `${run.candidates} waited for longer than the grace time`,
    `  ${run.unpinned} ${would}unpinned: no bucket refers to them`,
    `  ${run.referenced} ${would}taken off the queue: a bucket refers to them`,
    `  ${run.spared} wait: a root that was current not long ago refers to them`,
    `  ${run.hidden} wait: their bucket is to be compacted first, by a master that serves or by fula-master buckets compact`,
  ];
  if (run.notPinned > 0) lines.push(`  ${run.notPinned} had no pin of the gateway`);
  if (run.promised > 0) lines.push(`  ${run.promised} stay pinned: users of the pinning API want them`);
  if (run.claimed > 0) lines.push(`  ${run.claimed} were made use of meanwhile`);
  if (run.prunedCommits > 0) {
    lines.push(`${formatCount(run.prunedCommits, "root")} ${would}forgotten: older than buckets.historyAge`);
  }
  return lines.join("\n");
}

/** `fula-master buckets gc`: unpins what no bucket refers to any more. */
export const bucketsGcCommand = defineCommand<{
  readonly dryRun?: boolean;
  readonly grace?: string;
  readonly wait?: string;
}>({
  name: "gc",
  summary: "unpin what no bucket refers to any more",
  description:
    "Does at once what serve does every buckets.collectEvery: goes through the CIDs that lost a reference, reads what every " +
    "current root, every root younger than the grace time and every open upload refers to, and takes away the gateway's " +
    "pins of the rest. One of all masters at a time. Where any root cannot be read, nothing is unpinned.",
  examples: [
    { command: "fula-master buckets gc --dry-run", explains: "how much would be unpinned" },
    {
      command: "fula-master buckets gc --json",
      explains: "candidates, unpinned, referenced, spared, hidden, notPinned, promised, claimed, prunedCommits",
    },
  ],
  options: [
    {
      flags: "--grace <duration>",
      description: "spare what was in use so long ago (default: buckets.graceTime; 5m or more)",
    },
    { flags: "--wait <duration>", description: "wait so long for another master that collects" },
  ],
  changes: true,
  requires: "operator",
  run: async (context, { dryRun = false, grace, wait }) => {
    const { runBucketGc } = await import("../lib/stack/bucket-gc-run.ts");
    const run = await runBucketGc(context, { dryRun, grace: grace ?? null, wait: wait ?? null });
    context.out.result(run, () => reportText(run));
  },
});
