import { unreachable } from "../kernel/assert.ts";
import { formatBytes, formatDuration } from "../kernel/units.ts";
import type { AdoptReport } from "./adopt.ts";
import { formatTarget } from "./database-errors.ts";
import type { BrokenIndex } from "./index-health.ts";
import type { Blocker } from "./migration-checks.ts";
import { formatVersion, migrationId } from "./migration-files.ts";
import type { MigrationEvent } from "./migration-run.ts";
import type { StatusReport } from "./migration-status.ts";
import type { DownReport, Loss, MigrationStep, UpPlanReport, UpReport } from "./migrator.ts";

/** One line for what a run tells on its way; null for what needs no words. */
export function eventText(event: MigrationEvent): string | null {
  switch (event.event) {
    case "lock.waiting":
      return `waiting for ${event.holder}, which holds the migration lock (${formatDuration(event.waitedMs)})`;
    case "migration.started":
      return `${event.direction === "up" ? "applying" : "reverting"} ${event.id}`;
    case "migration.retried":
      return `${event.id}: ${event.reason}; trying again in ${formatDuration(event.delayMs)}`;
    case "migration.done":
      return null;
    case "index.dropped":
      return `${event.id}: dropped the INVALID index ${event.index}`;
    case "index.building":
      return `${event.id}: building ${event.index} (${event.phase})`;
    case "backup.started":
      return `backing up to ${event.path}`;
    case "backup.done":
      return `backup taken: ${formatBytes(event.bytes)}`;
    default:
      return unreachable(event, "migration event");
  }
}

function steps(verb: string, list: readonly MigrationStep[], dryRun: boolean): readonly string[] {
  return list.map((step) => `${verb} ${migrationId(step)}${dryRun ? "" : ` (${formatDuration(step.durationMs)})`}`);
}

function mendings(verb: string, list: readonly BrokenIndex[]): readonly string[] {
  return list.map(({ index, migration, state }) => `${verb} index ${index}, which was ${state} (${migration})`);
}

function blockerLines(blockers: readonly Blocker[]): readonly string[] {
  return blockers.map(({ migration, message, detail, hint }) =>
    [
      `${migration} would refuse: ${message}`,
      ...(detail === null ? [] : [detail]),
      ...(hint === null ? [] : [`Try: ${hint}`]),
    ].join("\n  "),
  );
}

function closing(version: number | null, dryRun: boolean): string {
  const at = version === null ? "without any migration" : `at ${formatVersion(version)}`;
  return dryRun ? `The database would be ${at}. Nothing was changed.` : `The database is ${at}.`;
}

/** The text of `migrate up` and its plan. */
export function upText(report: UpReport | UpPlanReport): string {
  const { dryRun, applied, mended, newer, version } = report;
  const lines = [
    ...mendings(dryRun ? "would rebuild" : "rebuilt", mended),
    ...steps(dryRun ? "would apply" : "applied", applied, dryRun),
    ...("blockers" in report ? blockerLines(report.blockers) : []),
    ...newer.map((id) => `left alone: ${id}, of a newer build`),
  ];
  if (lines.length === 0) return `Already up to date. ${closing(version, false)}`;
  return [...lines, closing(version, dryRun)].join("\n");
}

/** `bucket_roots: roots of buckets: 12 (020_bucket_roots)`. */
function lossText({ what, rows, migration }: Loss): string {
  return `${what}: ${rows} (${migration})`;
}

/** The text of `migrate down` and its plan. */
export function downText({ dryRun, reverted, losses, version }: DownReport): string {
  if (reverted.length === 0) return `Nothing to revert. ${closing(version, false)}`;
  return [
    ...steps(dryRun ? "would revert" : "reverted", reverted, dryRun),
    ...losses.map((loss) => `${dryRun ? "would lose" : "lost"} ${lossText(loss)}`),
    closing(version, dryRun),
  ].join("\n");
}

/** The text of `migrate adopt` and its plan. */
export function adoptText(report: AdoptReport): string {
  const { dryRun, adopted, applied, mended, blockers, backup, version } = report;
  if (report.alreadyOurs && applied.length === 0 && mended.length === 0) {
    return `Already adopted. ${closing(version, false)}`;
  }
  return [
    ...(backup === null ? [] : [`backup: ${backup.path} (${formatBytes(backup.bytes)}, ${backup.entries} entries)`]),
    ...adopted.map((id) => `${dryRun ? "would record" : "recorded"} ${id}: found in effect`),
    ...mendings(dryRun ? "would rebuild" : "rebuilt", mended),
    ...steps(dryRun ? "would apply" : "applied", applied, dryRun),
    ...blockerLines(blockers),
    closing(version, dryRun),
  ].join("\n");
}

const DATABASE_WORDS: Readonly<Record<StatusReport["database"], string>> = {
  empty: "has no tables yet: fula-master migrate up",
  managed: "",
  adoptable: "is an existing pinning service's: fula-master migrate adopt",
  incomplete: "has a part of the pinning service's tables, but not enough to adopt",
  foreign: "holds other tables and none of the pinning service's",
};

/** What `migrate status` says beside its table. */
export function statusText(report: StatusReport): string {
  const { target, database, version, migrations, brokenIndexes, missingParts, upToDate } = report;
  const where = formatTarget(target);
  if (database !== "managed") {
    return [
      `${where} ${DATABASE_WORDS[database]}`,
      ...missingParts.map(({ part, migration }) => `  missing: ${part} (${migration})`),
    ].join("\n");
  }
  const count = (standing: string): number => migrations.filter((each) => each.standing === standing).length;
  const lines = [
    ...brokenIndexes.map(
      ({ index, state, migration }) => `index ${index} of ${migration} is ${state}: fula-master migrate up rebuilds it`,
    ),
    ...(count("pending") === 0 ? [] : [`${count("pending")} pending: fula-master migrate up`]),
    ...(count("changed") === 0 ? [] : [`${count("changed")} changed since it was applied: put the released file back`]),
    ...(count("missing") === 0 ? [] : [`${count("missing")} without its file: install fula-master anew`]),
    ...(count("newer-breaking") === 0
      ? []
      : ["made by a newer build that forbids this one: install a newer fula-master"]),
  ];
  const at = `${where} is at ${version === null ? "no migration" : formatVersion(version)}`;
  return upToDate ? `${at}, up to date.` : [at, ...lines].join("\n");
}
