import { FulaError } from "../lib/kernel/errors.ts";
import { formatBytes, formatCount } from "../lib/kernel/units.ts";
import type { ImportedLine, ImportFrom, ImportSummary } from "../lib/stack/bucket-import-run.ts";
import { defineCommand } from "../lib/terminal/command.ts";

interface ImportOptions {
  readonly fromObjects?: boolean;
  readonly fromFleet?: boolean;
  readonly registry?: string;
  readonly allowMissing?: boolean;
  readonly dryRun?: boolean;
}

function sourceOf({ fromObjects = false, fromFleet = false, registry }: ImportOptions): ImportFrom {
  const isOfFleet = fromFleet || registry !== undefined;
  if (fromObjects !== isOfFleet) return isOfFleet ? { kind: "fleet", registry: registry ?? null } : { kind: "objects" };
  throw new FulaError("FULA_USAGE", "buckets import needs one source: --from-objects, --from-fleet or --registry.", {
    hint: "--from-objects for an earlier fula-master, --registry <cid or file> for a gateway of the fleet.",
  });
}

function lineText({ ownerId, bucket, outcome, error, remarks }: ImportedLine): string {
  const name = `${ownerId}/${bucket}`;
  const head =
    outcome === null
      ? `${name}: ${error?.code ?? ""}: ${error?.message ?? ""}${error?.hint == null ? "" : `\n  Try: ${error.hint}`}`
      : `${name}: ${outcome.state}, ${formatCount(outcome.objects, "object")}, ${formatBytes(Number(outcome.bytes))}`;
  return [head, ...remarks.map((remark) => `  ${remark}`)].join("\n");
}

function summaryText({ dryRun, imported, present, planned, refused }: ImportSummary): string {
  const done = dryRun ? `${planned} would be imported` : `${imported} imported`;
  return [
    done,
    ...(present > 0 ? [`${present} were there already`] : []),
    ...(refused > 0 ? [`${refused} refused`] : []),
  ].join(", ");
}

/** `fula-master buckets import`: brings in buckets of an earlier gateway. */
export const bucketsImportCommand = defineCommand<ImportOptions>({
  name: "import",
  summary: "bring in buckets of an earlier fula-master or of the existing fleet",
  description:
    "Reads every object of every bucket of the source, looks for its content, builds an index, keeps and reads back all of " +
    "it, and only then makes the bucket ours, in one transaction: where nothing stands in its place, or the fleet's row " +
    "with the root that was read. Nothing is ever written over, and it may be cut off anywhere and run again. Exits 1 " +
    "where any bucket was refused. With --json one object a line, a bucket each, the summary last.",
  examples: [
    { command: "fula-master buckets import --from-objects", explains: "buckets of an earlier fula-master" },
    {
      command: "fula-master buckets import --registry /var/lib/fula-gateway/registry.cid --dry-run",
      explains: "read and check all of a fleet gateway's",
    },
    {
      command: "fula-master buckets import --from-fleet",
      explains: "those whose roots stand in this ledger, without a registry",
    },
  ],
  options: [
    { flags: "--from-objects", description: "buckets in the tables of an earlier fula-master" },
    { flags: "--from-fleet", description: "buckets of the fleet whose roots stand in this ledger" },
    {
      flags: "--registry <cid>",
      description: "those, and the ones that a registry of the fleet's gateway names: its CID, or a file that holds it",
    },
    { flags: "--allow-missing", description: "take objects whose content is not to be found" },
  ],
  changes: true,
  requires: "operator",
  run: async (context, options) => {
    const { runBucketImport } = await import("../lib/stack/bucket-import-run.ts");
    const { out } = context;
    const { dryRun = false, allowMissing = false } = options;
    const summary = await runBucketImport(context, sourceOf(options), { dryRun, allowMissing }, async (line) => {
      await out.recordSlowly(line, () => lineText(line));
    });
    out.record(summary, () => summaryText(summary));
    return summary.ok ? 0 : 1;
  },
});
