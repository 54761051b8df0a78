import { FulaError } from "../lib/kernel/errors.ts";
import { formatBytes, formatCount } from "../lib/kernel/units.ts";
import type { VerifiedBucket, VerifySummary } from "../lib/stack/bucket-verify-run.ts";
import { defineCommand } from "../lib/terminal/command.ts";

function bucketText({ ownerId, bucket, verdict, error }: VerifiedBucket): string {
  const name = `${ownerId}/${bucket}`;
  if (verdict === null) return `${name}: not looked at: ${error?.code ?? ""}: ${error?.message ?? ""}`;
  if (verdict.ok)
    return `${name}: ${formatCount(verdict.keys, "object")}, ${formatBytes(Number(verdict.bytes))}, all there and kept`;
  const shown = verdict.findings.map(({ fault, key, message }) => {
    const where = key === null ? "" : ` ${JSON.stringify(key)}:`;
    return `  ${fault}:${where} ${message}`;
  });
  const more = verdict.faults - shown.length;
  return [
    `${name}: ${formatCount(verdict.faults, "fault")}`,
    ...shown,
    ...(more > 0 ? [`  … and ${more} more`] : []),
  ].join("\n");
}

function summaryText({ ok, buckets, faulty, unread }: VerifySummary): string {
  const looked = `${formatCount(buckets, "bucket")} looked at`;
  if (ok) return `${looked}: everything that they refer to is there and kept`;
  return `${looked}: ${faulty} with faults, ${unread} that could not be read`;
}

/** `fula-master buckets verify`: whether all that buckets refer to is there and kept. */
export const bucketsVerifyCommand = defineCommand<{ readonly all?: boolean; readonly deep?: boolean }>({
  name: "verify",
  summary: "prove that all that buckets refer to is there and kept",
  description:
    "Reads every block of a bucket's index at its current root, counts keys and bytes against the ledger, reads every " +
    "entry, looks for every content and for the pin of each of these. Exits 1 where anything is wrong, or was not imported " +
    "and so could not be looked at. With --json one object a line, a bucket each, the summary last. Reads only.",
  examples: [
    { command: "fula-master buckets verify --all", explains: "every bucket of the ledger" },
    {
      command: "fula-master buckets verify alice@example.com/photos --deep",
      explains: "and every block of every content",
    },
  ],
  arguments: [{ name: "bucket", description: "<owner>/<bucket>" }],
  options: [
    { flags: "--all", description: "every bucket of this ledger" },
    { flags: "--deep", description: "read and re-hash every block of every content" },
  ],
  run: async (context, { all = false, deep = false }, [text]) => {
    const { runBucketVerify } = await import("../lib/stack/bucket-verify-run.ts");
    const { parseBucketName } = await import("../lib/stack/bucket-name.ts");
    if (all === (text !== undefined)) {
      throw new FulaError("FULA_USAGE", "buckets verify looks at one bucket, or with --all at every one.", {
        hint: "fula-master buckets verify --all",
      });
    }
    const { out } = context;
    const choice = text === undefined ? "all" : parseBucketName(text);
    const summary = await runBucketVerify(context, choice, { deep }, async (bucket) => {
      await out.recordSlowly(bucket, () => bucketText(bucket));
    });
    out.record(summary, () => summaryText(summary));
    return summary.ok ? 0 : 1;
  },
});
