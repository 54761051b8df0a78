import { FulaError } from "../lib/kernel/errors.ts";
import { formatCount } from "../lib/kernel/units.ts";
import type { MergeReport } from "../lib/stack/bucket-merge-run.ts";
import { defineCommand } from "../lib/terminal/command.ts";

interface MergeCommandOptions {
  readonly base?: string;
  readonly from?: string;
  readonly prefer?: "ours" | "theirs";
  readonly dryRun?: boolean;
}

function reportText({ dryRun, put, deleted, conflicts, conflicting, raced }: MergeReport): string {
  const would = dryRun ? "would be " : "";
  const lines = [`${formatCount(put, "key")} ${would}put, ${deleted} ${would}deleted`];
  if (conflicts > 0) {
    lines.push(
      `changed by both sides, ${formatCount(conflicts, "key")}:`,
      ...conflicting.map((key) => `  ${JSON.stringify(key)}`),
    );
  }
  if (raced > 0)
    lines.push(`changed by somebody else meanwhile and left as it is, ${formatCount(raced, "key")}; run it again`);
  return lines.join("\n");
}

/** `fula-master buckets merge`: brings the changes of a root into a bucket. */
export const bucketsMergeCommand = defineCommand<MergeCommandOptions>({
  name: "merge",
  summary: "bring what another root of a bucket changed into the bucket",
  description:
    "Compares two roots and puts what was changed between them into the bucket as it is now, by writes like any client's. " +
    "It is the way back where masters that saved without compare-and-swap wrote over one another: every root stands in " +
    "buckets show --history. Keys that both sides changed are listed and nothing is changed, unless --prefer says who is " +
    "right. Exits 1 where keys were changed by others meanwhile.",
  examples: [
    {
      command: "fula-master buckets merge alice@example.com/photos --base <root> --from <root> --dry-run",
      explains: "what would be changed",
    },
    {
      command: "fula-master buckets merge alice@example.com/photos --base <root> --from <root> --prefer theirs",
      explains: "where both changed a key, take that of --from",
    },
  ],
  arguments: [{ name: "bucket", description: "<owner>/<bucket>", required: true }],
  options: [
    { flags: "--base <root>", description: "the last root that both sides had" },
    { flags: "--from <root>", description: "the root whose changes are missing" },
    { flags: "--prefer <side>", description: "who is right where both changed a key", choices: ["ours", "theirs"] },
  ],
  changes: true,
  requires: "operator",
  run: async (context, { base, from, prefer = null, dryRun = false }, [bucket = ""]) => {
    const { runBucketMerge } = await import("../lib/stack/bucket-merge-run.ts");
    const { parseBucketName } = await import("../lib/stack/bucket-name.ts");
    if (base === undefined || from === undefined) {
      throw new FulaError("FULA_USAGE", "buckets merge needs --base and --from.", {
        hint: "fula-master buckets show <bucket> --history 100 lists the roots that the bucket had.",
      });
    }
    const report = await runBucketMerge(context, parseBucketName(bucket), { base, from, prefer, dryRun });
    context.out.result(report, () => reportText(report));
    return report.raced === 0 ? 0 : 1;
  },
});
