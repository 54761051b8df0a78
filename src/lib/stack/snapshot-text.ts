import { formatBytes, formatCount, formatDuration } from "../kernel/units.ts";
import type { PruneReport } from "../pinset/prune.ts";
import type { SnapshotPlan, SnapshotReport } from "../pinset/snapshot.ts";
import type { Verification } from "../pinset/verify.ts";
import type { SnapshotListing } from "./snapshot-run.ts";

/** Says what `snapshot` did. */
export function snapshotText(report: SnapshotReport): string {
  const { file, sequence, pinCount, bytes, sha256, durationMs, keyId, pruned } = report;
  const lines = [
    `Snapshot ${sequence}: ${formatCount(pinCount, "pin")}, ${formatBytes(bytes)}, taken in ${formatDuration(durationMs)}.`,
    `  file    ${file}`,
    `  sha256  ${sha256} (of the records)`,
    `  key     ${keyId}`,
  ];
  if (pruned.length > 0) lines.push(`Removed by snapshot.keep: ${pruned.join(", ")}`);
  return lines.join("\n");
}

/** Says what `snapshot` would do. */
export function snapshotPlanText(plan: SnapshotPlan): string {
  const { file, sequence, pinCount, previousPinCount } = plan;
  const before =
    previousPinCount === null ? "there is no earlier one" : `the last one has ${formatCount(previousPinCount, "pin")}`;
  return `Would take snapshot ${sequence} of ${formatCount(pinCount, "pin")} (${before}):\n  ${file}\nNothing was written.`;
}

/** Columns of `snapshot list`. */
export const LIST_COLUMNS = [
  { title: "NAME" },
  { title: "AGE", align: "right" },
  { title: "SEQUENCE", align: "right" },
  { title: "PINS", align: "right" },
  { title: "SIZE", align: "right" },
  { title: "STATE" },
  { title: "KEPT BECAUSE", cut: "end" },
] as const;

/** One row of `snapshot list`. */
export function listRow(entry: SnapshotListing): readonly string[] {
  const { name, ageMs, sequence, pinCount, bytes, keep } = entry;
  return [
    name,
    ageText(ageMs),
    sequence === null ? "-" : String(sequence),
    pinCount === null ? "-" : String(pinCount),
    bytes === null ? "-" : formatBytes(bytes),
    stateText(entry),
    keep.length === 0 ? "(prune removes it)" : keep.join(", "),
  ];
}

/** Says what `snapshot prune` removed, or would remove. */
export function pruneText({ decisions, removed }: PruneReport, dryRun: boolean): string {
  const lines = decisions.map(({ name, keep, reasons }) => {
    const verdict = keep ? "keep" : dryRun ? "would remove" : "removed";
    return `${verdict.padEnd(12)}  ${name}${reasons.length === 0 ? "" : `  (${reasons.join(", ")})`}`;
  });
  const done = dryRun ? "would be removed" : "removed";
  return [...lines, `${removed.length} of ${decisions.length} snapshots ${done}.`].join("\n");
}

/** Says what `verify` found. */
export function verificationText(verification: Verification): string {
  const { ok, name, format, file, problems, remarks } = verification;
  const count = problems.length === 1 ? "1 problem" : `${problems.length} problems`;
  const kind = format === "legacy" ? " (old format)" : "";
  const lines = [
    `${name}${kind}: ${ok ? "good" : `NOT GOOD, ${count}`}`,
    `  file      ${file}`,
    ...factLines(verification),
  ];
  for (const { code, message, hint } of problems) {
    lines.push(`  ${code}: ${message}`);
    if (hint !== undefined) lines.push(`    Try: ${hint}`);
  }
  for (const remark of remarks) lines.push(`  note: ${remark}`);
  return lines.join("\n");
}

function factLines({ time, ageMs, manifest, pinCount, signedBy }: Verification): readonly string[] {
  const lines: string[] = [];
  if (time !== null && ageMs !== null) lines.push(`  taken     ${time}, ${ageText(ageMs)} ago`);
  if (manifest !== null) lines.push(`  sequence  ${manifest.sequence} of cluster ${manifest.clusterId}`);
  if (pinCount !== null) lines.push(`  pins      ${pinCount}`);
  if (signedBy !== null) lines.push(`  signed    by ${signedBy}`);
  return lines;
}

function stateText({ good, format, problems }: SnapshotListing): string {
  if (format === "legacy") return "old format";
  if (good) return "good";
  return problems[0]?.code.replace("FULA_SNAPSHOT_", "").toLowerCase().replaceAll("_", " ") ?? "not good";
}

function ageText(ageMs: number): string {
  return ageMs < 0 ? `-${formatDuration(-ageMs)}` : formatDuration(ageMs);
}
