import { formatCount } from "../lib/kernel/units.ts";
import type { CompactReport } from "../lib/stack/bucket-care-run.ts";
import { defineCommand } from "../lib/terminal/command.ts";

const SAID: Readonly<Record<CompactReport["outcome"], string>> = {
  adopted: "worked into the tree",
  overtaken: "a master was faster; nothing was changed",
  nothing: "there is no log",
  absent: "the bucket was deleted meanwhile",
  planned: "would be worked into the tree",
};

/** `fula-master buckets compact`: works a bucket's log into its search tree. */
export const bucketsCompactCommand = defineCommand<{ readonly dryRun?: boolean }>({
  name: "compact",
  summary: "work the log of a bucket's index into its search tree",
  description:
    "Does at once what serve does when a log has grown to buckets.compactAfter: builds a new tree beside the bucket and " +
    "puts it under it by one move of the root. Writers go on meanwhile. Before a root is pinned or exported elsewhere, it " +
    "is worth it: such a root names nothing that was deleted.",
  examples: [
    { command: "fula-master buckets compact alice@example.com/photos", explains: "then buckets show has the new root" },
  ],
  arguments: [{ name: "bucket", description: "<owner>/<bucket>", required: true }],
  changes: true,
  requires: "operator",
  run: async (context, { dryRun = false }, [bucket = ""]) => {
    const { runBucketCompact } = await import("../lib/stack/bucket-care-run.ts");
    const { parseBucketName } = await import("../lib/stack/bucket-name.ts");
    const report = await runBucketCompact(context, parseBucketName(bucket), dryRun);
    context.out.result(
      report,
      () => `${formatCount(report.logChanges, "change")} in the log: ${SAID[report.outcome]}\n${report.root}`,
    );
  },
});
