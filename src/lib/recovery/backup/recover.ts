import { FulaError } from "../../kernel/errors.ts";
import type { SiteSession } from "../../runtime/postgres-site.ts";
import { formatLsn, type Lsn, parseLsn } from "../lsn.ts";
import { runScript, writeSiteFile } from "../postgres/site-files.ts";

/** Up to where recovery goes. */
export type RecoveryTarget =
  /** As far as the backup itself reaches. */
  | { readonly kind: "consistent" }
  /** As far as there is WAL. */
  | { readonly kind: "latest" }
  /** With every commit up to and at that time, microseconds since the Unix epoch: PostgreSQL's commits have no finer ones. */
  | { readonly kind: "time"; readonly atUs: bigint }
  /** With the record that begins there. */
  | { readonly kind: "lsn"; readonly lsn: Lsn };

/** A data directory that is to be recovered. */
export interface Recovery {
  /** As the site's programs see it; nothing runs on it. */
  readonly dataDir: string;
  /** Where the WAL is that it does not have itself; null for none. */
  readonly walDir: string | null;
  readonly target: RecoveryTarget;
  /** The one to follow; null for the newest. */
  readonly timeline: number | null;
  readonly database: string;
  readonly signal: AbortSignal;
  /** Told of each segment that it took. */
  readonly onSegment?: ((name: string) => void) | undefined;
}

/** To where recovery came. */
export interface Recovered {
  /** The new one. */
  readonly timeline: number;
  /** The end of the last record that was applied. */
  readonly reachedLsn: Lsn;
  /** Of the last transaction that was applied, RFC 3339, UTC; null where there was none. */
  readonly lastCommitAt: string | null;
}

const RECOVERY_FILES = 'cd "$1" && rm -f standby.signal recovery.signal && : >recovery.signal';
const RESTORED = /restored log file "([0-9A-F]{24})" from archive/;
/** How single-user mode shows the one column of a row. */
const RESULT = /^\t 1: \w+ = "(.*)"\t\(typeid = /gm;

function quoted(text: string): string {
  return `'${text.replaceAll("\\", "\\\\").replaceAll("'", "''")}'`;
}

function forShell(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

/** RFC 3339 in UTC, with microseconds: 2026-11-20T03:00:00.123456Z. */
export function formatMicroseconds(atUs: bigint): string {
  const milliseconds = new Date(Number(atUs / 1_000n)).toISOString().slice(0, -1);
  return `${milliseconds}${String(atUs % 1_000n).padStart(3, "0")}Z`;
}

function targetLine(target: RecoveryTarget): string {
  switch (target.kind) {
    case "consistent":
      return "recovery_target = 'immediate'";
    case "time":
      return `recovery_target_time = ${quoted(formatMicroseconds(target.atUs).replace("T", " ").replace("Z", "+00"))}`;
    case "lsn":
      return `recovery_target_lsn = ${quoted(formatLsn(target.lsn))}`;
    default:
      return "";
  }
}

/** Settings that need nothing of those in the data directory, which may name files that are not there. */
function settingsOf({ walDir, target, timeline }: Recovery): string {
  const restore = walDir === null ? "false" : `cp ${forShell(walDir.replaceAll("%", "%%"))}/%f "%p"`;
  return [
    `restore_command = ${quoted(restore)}`,
    `recovery_target_timeline = '${timeline ?? "latest"}'`,
    "recovery_target_action = 'promote'",
    targetLine(target),
    "archive_mode = off",
    "hot_standby = off",
    "lc_messages = 'C'",
    "timezone = 'UTC'",
    "log_timezone = 'UTC'",
    "",
  ].join("\n");
}

/**
 * Where the settings of such a run lie, beside the data directory.
 */
export function runConfFile(dataDir: string): string {
  return `${dataDir}.conf`;
}

/**
 * Runs statements in a data directory by itself, without a server that anybody could reach.
 * @param statements one line each, of one column
 * @returns the rows, in their order
 * @throws FulaError FULA_RECOVERY_STEP
 */
export async function runSingleUser(
  session: SiteSession,
  doing: string,
  { dataDir, database, signal }: Pick<Recovery, "dataDir" | "database" | "signal">,
  statements: readonly string[],
  onLine?: (line: string) => void,
): Promise<readonly string[]> {
  const end = await session.run("postgres", {
    args: ["--single", "-D", dataDir, "-c", `config_file=${runConfFile(dataDir)}`, database],
    stdin: statements.map((statement) => `${statement.replaceAll(/\s+/g, " ").trim()}\n`).join(""),
    signal,
    ...(onLine === undefined ? {} : { onLine }),
  });
  signal.throwIfAborted();
  // It ends with 0 although a statement failed.
  if (end.exitCode !== 0 || /^.*\b(?:ERROR|FATAL|PANIC): /m.test(end.stderr)) {
    throw new FulaError("FULA_RECOVERY_STEP", `Cannot ${doing} in ${dataDir}:\n${lastWords(end.stderr)}`, {
      hint: "nothing that is in use was changed.",
      details: { stderr: end.stderr.slice(-2_000) },
    });
  }
  return [...end.stdout.matchAll(RESULT)].map((match) => match[1] ?? "");
}

function lastWords(stderr: string): string {
  const lines = stderr.trim().split("\n");
  const failed = lines.filter((line) => /\b(?:ERROR|FATAL|PANIC|DETAIL|HINT): /.test(line));
  return (failed.length > 0 ? failed : lines).slice(-4).join("\n");
}

/**
 * Recovers a data directory to its target, on a timeline of its own, and leaves it shut down. Nobody can reach it meanwhile.
 * @throws FulaError FULA_RECOVERY_STEP where the target cannot be reached
 */
export async function recoverData(session: SiteSession, recovery: Recovery): Promise<Recovered> {
  const { dataDir, onSegment } = recovery;
  await writeSiteFile(session, runConfFile(dataDir), settingsOf(recovery));
  await runScript(session, `prepare ${dataDir} for recovery`, RECOVERY_FILES, [dataDir]);
  const rows = await runSingleUser(
    session,
    "recover",
    recovery,
    [
      `select json_build_object(
          'timeline', (select timeline_id from pg_control_checkpoint()),
          'reached', pg_last_wal_replay_lsn(),
          'last', to_char(pg_last_xact_replay_timestamp() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')) as r`,
    ],
    (line) => {
      const segment = RESTORED.exec(line)?.[1];
      if (segment !== undefined) onSegment?.(segment);
    },
  );
  return parseRecovered(rows[0]);
}

function parseRecovered(row: string | undefined): Recovered {
  const value: unknown = row === undefined ? null : JSON.parse(row);
  if (typeof value !== "object" || value === null || !("timeline" in value) || !("reached" in value)) {
    throw new Error("a recovery did not say to where it came");
  }
  const last = "last" in value ? value.last : null;
  return {
    timeline: Number(value.timeline),
    reachedLsn: parseLsn(String(value.reached)),
    lastCommitAt: typeof last === "string" ? last : null,
  };
}
