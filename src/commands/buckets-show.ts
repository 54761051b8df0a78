import { InvalidArgumentError } from "commander";
import { formatBytes, formatCount } from "../lib/kernel/units.ts";
import type { BucketReport } from "../lib/stack/bucket-show-run.ts";
import { type CommandContext, defineCommand } from "../lib/terminal/command.ts";

const HISTORY_MAX = 10_000;

function parseHistory(text: string): number {
  const count = /^\d{1,5}$/.test(text) ? Number(text) : -1;
  if (count >= 0 && count <= HISTORY_MAX) return count;
  throw new InvalidArgumentError(`It must be a whole number from 0 to ${HISTORY_MAX}.`);
}

function reportText(out: CommandContext["out"], report: BucketReport): string {
  const { index, history } = report;
  const lines = [
    `${report.ownerId}/${report.bucket}`,
    `  user      ${report.userId ?? "not known"}`,
    `  version   ${report.version}, moved ${report.movedAt}, made ${report.createdAt}`,
    `  root      ${report.root}`,
    `  objects   ${report.objects}, ${formatBytes(Number(report.bytes))}`,
    index === null
      ? "  index     of the existing fleet; fula-master buckets import brings it in"
      : `  index     ${formatCount(index.logChanges, "change")} in ${formatCount(index.logBlocks, "log block")} over a tree of ${formatCount(index.height, "level")}, ${index.base}`,
  ];
  if (history.length === 0) return lines.join("\n");
  const table = out.table(
    [
      { title: "VERSION", align: "right" },
      { title: "AT" },
      { title: "BY" },
      { title: "OBJECTS", align: "right" },
      { title: "ROOT" },
    ],
    history.map(({ version, at, node, objects, root }) => [version, at, node, objects, root ?? "deleted"]),
  );
  return [...lines, "", table].join("\n");
}

/** `fula-master buckets show`: one bucket, its index and its last roots. */
export const bucketsShowCommand = defineCommand<{ readonly history: number }>({
  name: "show",
  summary: "show a bucket, the shape of its index, and the roots that it had",
  description:
    "Shows the row of a bucket, how long the log of its index is and how high its tree, and its newest roots with who " +
    "moved them: what buckets merge and buckets rebuild are given. Reads only.",
  examples: [
    { command: "fula-master buckets show alice@example.com/photos", explains: "by the owner's e-mail address" },
    {
      command: "fula-master buckets show 11c1a2672aad53eabc88f6317607a58f/photos --history 100",
      explains: "with more roots",
    },
  ],
  arguments: [{ name: "bucket", description: "<owner>/<bucket>", required: true }],
  options: [{ flags: "--history <count>", description: "roots to show at most", default: 10, parse: parseHistory }],
  run: async (context, { history }, [bucket = ""]) => {
    const { runBucketShow } = await import("../lib/stack/bucket-show-run.ts");
    const { parseBucketName } = await import("../lib/stack/bucket-name.ts");
    const report = await runBucketShow(context, parseBucketName(bucket), history);
    context.out.result(report, () => reportText(context.out, report));
  },
});
