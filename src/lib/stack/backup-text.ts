import { formatBytes, formatCount, formatDuration } from "../kernel/units.ts";
import type { BackupPruneReport } from "../recovery/backup/prune-backups.ts";
import type { ArchiveFacts } from "./backup-facts.ts";
import type { LedgerRestoreReport } from "./backup-restore-run.ts";
import type { BackupCreateReport, BackupListing, BackupPlan, BackupVerification, ListedBackup } from "./backup-run.ts";

/** How far a backup's test restore has come. */
function testText({ test }: BackupListing): string {
  if (test === null) return "not tested";
  return test.ok ? "restored for a test" : "TEST FAILED";
}

/** Says what `backup create` did. */
export function createText({ ok, backup, durationMs, pruned }: BackupCreateReport): string {
  const { dir, name, bytes, dataBytes, startLsn, endLsn, timeline, test } = backup;
  const lines = [
    `Base backup ${name}: ${formatBytes(dataBytes ?? 0)} in ${formatBytes(bytes)}, taken in ${formatDuration(durationMs)}, ${testText(backup)}.`,
    `  directory  ${dir}`,
    `  WAL        ${startLsn ?? "?"} to ${endLsn ?? "?"} on timeline ${timeline ?? "?"}`,
  ];
  for (const problem of test?.problems ?? []) lines.push(`  ${problem}`);
  if (!ok) lines.push("It is NOT GOOD, and no old one was removed.");
  if (pruned !== null && pruned.removed.length > 0) lines.push(`Removed by backup.keep: ${pruned.removed.join(", ")}`);
  if (pruned !== null && pruned.removedWal.length > 0) lines.push(`${removedWal(pruned)}.`);
  return lines.join("\n");
}

/** Says what `backup create` would do. */
export function createPlanText({ server, dataBytes, freeBytes, dir }: BackupPlan): string {
  return [
    `Would copy the server at ${server}, about ${formatBytes(dataBytes)}, into ${dir}, which has room for ${formatBytes(freeBytes)}.`,
    "Nothing was written.",
  ].join("\n");
}

/** Says how far the archived WAL reaches. */
export function archiveLine(archive: ArchiveFacts | null): string {
  if (archive === null) return "No WAL is archived (backup.archive): a restore ends where its base backup does.";
  const { bytes, reachesTo, timeline, holes } = archive;
  const reach =
    reachesTo === null
      ? "not from the newest base backup on"
      : `from the newest base backup on up to ${reachesTo}, newest timeline ${timeline ?? "?"}`;
  const missing = holes.length === 0 ? "" : ` Missing: ${holes.join(", ")}.`;
  return `Archived WAL: ${formatBytes(bytes)}, ${reach}.${missing}`;
}

function removedWal({ removedWal: names }: BackupPruneReport): string {
  return `${formatCount(names.length, "archived segment")} that no backup needs any more ${names.length === 1 ? "was" : "were"} removed`;
}

/** Columns of `backup list`. */
export const BACKUP_COLUMNS = [
  { title: "NAME" },
  { title: "AGE", align: "right" },
  { title: "SIZE", align: "right" },
  { title: "TIMELINE", align: "right" },
  { title: "ENDS AT", align: "right" },
  { title: "STATE" },
  { title: "KEPT BECAUSE", cut: "end" },
] as const;

/** One row of `backup list`. */
export function backupRow(backup: ListedBackup): readonly string[] {
  const { name, ageMs, bytes, timeline, endLsn, good, problems, keep, kept } = backup;
  const reasons = keep.map((reason) => (reason === "kept" && kept !== null ? kept : reason));
  return [
    name,
    ageMs === null ? "-" : formatDuration(Math.max(0, ageMs)),
    formatBytes(bytes),
    timeline === null ? "-" : String(timeline),
    endLsn ?? "-",
    good ? testText(backup) : (problems[0] ?? "not good"),
    keep.length === 0 ? "(prune removes it)" : reasons.join(", "),
  ];
}

/** Says what `backup verify` found. */
export function verifyText(verifications: readonly BackupVerification[]): string {
  return verifications
    .flatMap(({ ok, backup, problems }) => [
      `${backup.name}: ${ok ? `good, ${testText(backup)}` : "NOT GOOD"}`,
      ...problems.map((problem) => `  ${problem}`),
    ])
    .join("\n");
}

/** Says what `backup prune` removed, or would remove. */
export function backupPruneText(report: BackupPruneReport, dryRun: boolean): string {
  const { decisions, removed, removedWal: wal } = report;
  const lines = decisions.map(({ name, keep, reasons }) => {
    const verdict = keep ? "keep" : dryRun ? "would remove" : "removed";
    return `${verdict.padEnd(12)}  ${name}${reasons.length === 0 ? "" : `  (${reasons.join(", ")})`}`;
  });
  const done = dryRun ? "would be removed" : "removed";
  lines.push(`${removed.length} of ${decisions.length} base backups ${done}.`);
  if (wal.length > 0) lines.push(`${removedWal(report)}.`);
  return lines.join("\n");
}

/** What `backup restore` asks before it replaces data. */
export const REPLACE_QUESTION =
  "The ledger's data on this box are replaced by what is restored; what came later is gone for everybody. Go on?";

function goOnLines({ ok, inPlace, dir, replaced, epoch }: LedgerRestoreReport): readonly string[] {
  if (!ok) {
    return [
      `It was not put in place. It lies in ${dir ?? "?"}: remove it when it was looked at (rm -r).`,
      "The same command with --accept-problems restores it anew, and takes it all the same.",
    ];
  }
  if (!inPlace) {
    return [
      `It lies in ${dir ?? "?"}, beside what is in use, and nobody serves it.`,
      "To make it the ledger: fula-master stop, then the same command with --in-place.",
    ];
  }
  const lines = [`It is the data of this box's server now (${dir ?? "?"}); the old data lie in ${replaced ?? "?"}.`];
  if (epoch !== null) {
    lines.push(
      `The ledger is at epoch ${epoch.number} now: whoever still meant the one before is refused, and standbys are made anew by fula-master standby add.`,
    );
  }
  lines.push("Next: fula-master start, then fula-master billing verify, then fula-master backup create.");
  return lines;
}

/** Says what `backup restore` did, or would do. */
export function ledgerRestoreText(report: LedgerRestoreReport): string {
  const { backup, backupEndedAt, to, segments, reachesTo, neededBytes, recovered, contents, problems } = report;
  const lines = [
    `${report.dryRun ? "Would restore" : "Restored"} to ${to} from ${backup}, which ended at ${backupEndedAt}, and ${formatCount(segments, "archived segment")}.`,
    `  WAL reaches to  ${reachesTo}`,
    `  unpacked        ${formatBytes(neededBytes)}`,
  ];
  if (recovered !== null) {
    lines.push(`  recovered to    ${recovered.lsn}, now on timeline ${recovered.timeline}`);
    lines.push(`  last commit     ${recovered.lastCommitAt ?? "none after the backup"}`);
  }
  if (contents !== null) {
    const { accounts, bucketRoots, pins } = contents;
    lines.push(
      `  holds           ${formatCount(accounts, "account")}, ${formatCount(bucketRoots, "bucket root")}, ${formatCount(pins, "pin request")}`,
    );
  }
  for (const problem of problems) lines.push(`  PROBLEM: ${problem}`);
  if (report.dryRun) return [...lines, "Nothing was written."].join("\n");
  return [...lines, ...goOnLines(report)].join("\n");
}
