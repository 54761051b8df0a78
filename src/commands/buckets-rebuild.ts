import { formatCount } from "../lib/kernel/units.ts";
import type { RebuildReport } from "../lib/stack/bucket-rebuild-run.ts";
import { defineCommand } from "../lib/terminal/command.ts";

function reportText({ dryRun, reasons, olderRoot, salvaged, older, keys, keysBefore, root }: RebuildReport): string {
  const restored =
    olderRoot === null ? "no earlier root is whole" : `${older} ${dryRun ? "would come" : "came"} from ${olderRoot}`;
  return [
    ...reasons.map((reason) => `damaged: ${reason}`),
    `${formatCount(salvaged, "key")} can be read of it; ${restored}`,
    `${formatCount(keys, "key")} where the row said ${keysBefore}`,
    ...(root === null ? [] : [root]),
  ].join("\n");
}

/** `fula-master buckets rebuild`: a whole index in the place of a damaged one. */
export const bucketsRebuildCommand = defineCommand<{ readonly dryRun?: boolean; readonly yes?: boolean }>({
  name: "rebuild",
  summary: "make a damaged index whole again",
  description:
    "Reads what can be read of the index of a bucket; where blocks of it are gone, takes the keys of the newest earlier root " +
    "that is whole: those may have been changed or deleted since. Builds and keeps a new index and moves the root to it by " +
    "compare-and-swap. Refused where nothing is damaged. Look at the blocks' disk or nodes first: a block that comes back " +
    "makes this needless.",
  examples: [
    { command: "fula-master buckets rebuild alice@example.com/photos --dry-run", explains: "how much can be saved" },
    { command: "fula-master buckets rebuild alice@example.com/photos", explains: "asks, then does it" },
  ],
  arguments: [{ name: "bucket", description: "<owner>/<bucket>", required: true }],
  changes: true,
  asks: true,
  requires: "operator",
  run: async (context, { dryRun = false, yes = false }, [bucket = ""]) => {
    const { runBucketRebuild } = await import("../lib/stack/bucket-rebuild-run.ts");
    const { parseBucketName } = await import("../lib/stack/bucket-name.ts");
    const { out } = context;
    const report = await runBucketRebuild(context, parseBucketName(bucket), dryRun, async (planned) => {
      const question = `This replaces the root of ${bucket}: ${formatCount(planned.keys, "key")} where the row says ${planned.keysBefore}. Go on?`;
      await out.confirm(question, yes);
    });
    out.result(report, () => reportText(report));
  },
});
