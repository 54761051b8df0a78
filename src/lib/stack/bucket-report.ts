import { readQueueFigures } from "../buckets/collector-queue.ts";
import { countOldBuckets } from "../buckets/import-objects.ts";
import { readSavingState } from "../buckets/roots/mode-guard.ts";
import type { SavingMode } from "../buckets/roots/saving-mode.ts";
import type { LoadedConfig } from "../config/load.ts";
import type { Clock } from "../kernel/clock.ts";
import { formatCount, formatDuration } from "../kernel/units.ts";
import type { Pool } from "../postgres/pool.ts";
import { runQuery } from "../postgres/run-query.ts";
import type { PartProblem } from "./status-part.ts";

/** How buckets stand, as the ledger tells it. */
export interface BucketReport {
  /** How the masters save; null where none has served yet. */
  readonly mode: SavingMode | null;
  /** Masters that serve now, by their sessions. */
  readonly serving: number;
  readonly buckets: number;
  /** The newest move of a root. RFC 3339, UTC; null where there is none. */
  readonly newestCommit: string | null;
  /** How long the ledger took to answer, in milliseconds. */
  readonly arbiterMs: number;
  /** CIDs that wait for the collector, and for how long the oldest does. */
  readonly garbage: number;
  readonly oldestGarbageSeconds: number | null;
  /** What nodes hold until the peers of the cluster do. */
  readonly holds: number;
  /** Buckets of an earlier gateway that wait for their import. */
  readonly notImported: number;
  readonly problems: readonly PartProblem[];
}

interface CountRow {
  readonly buckets: string;
  readonly of_fleet: string;
  readonly newest: Date | null;
  readonly holds: string;
}

async function readCounts(pool: Pool): Promise<CountRow> {
  const { rows } = await runQuery<CountRow>(pool, {
    name: "bucket_report_counts",
    text: `
      select (select count(*) from bucket_roots where deleted_at is null) as buckets,
             (select count(*) from bucket_roots where deleted_at is null and format = 0) as of_fleet,
             (select max(committed_at) from bucket_commits) as newest,
             (select count(*) from bucket_holds) as holds`,
    values: [],
  });
  const [row] = rows;
  if (row === undefined) throw new Error("a statement that counts gave no row");
  return row;
}

function wantedMode({ config }: LoadedConfig): SavingMode {
  if (config.gateway.mode === "container") return "fleet";
  return config.buckets.cas ? "cas" : "single";
}

/** What is queued is looked at in each run once it is old enough; where it is much older, no run comes to its end. */
const RUNS_MISSED = 6;

function problemsOf(report: Omit<BucketReport, "problems">, loaded: LoadedConfig): readonly PartProblem[] {
  const { mode, serving, notImported, oldestGarbageSeconds } = report;
  const wanted = wantedMode(loaded);
  const problems: PartProblem[] = [];
  if (mode !== null && mode !== wanted) {
    problems.push({
      severity: serving > 0 ? "bad" : "attention",
      message: `Buckets of this ledger are saved by ${mode}; this master is set to ${wanted}.`,
      remedy: "set FULA_BUCKET_ROOT_CAS alike on every master; fula-master buckets mode shows who serves.",
    });
  }
  if (wanted !== "fleet" && notImported > 0) {
    problems.push({
      severity: "bad",
      message: `Not imported yet: ${formatCount(notImported, "bucket")} of an earlier gateway; clients find none of it.`,
      remedy: "fula-master buckets import --from-objects, or --from-fleet.",
    });
  }
  const { graceTime, collectEvery } = loaded.config.buckets;
  const lateMs = (oldestGarbageSeconds ?? 0) * 1_000 - graceTime;
  if (mode !== "fleet" && lateMs > RUNS_MISSED * collectEvery && lateMs > graceTime) {
    problems.push({
      severity: "attention",
      message: `What lost its reference has waited for ${formatDuration((oldestGarbageSeconds ?? 0) * 1_000)} to be unpinned.`,
      remedy: "fula-master buckets gc says why; fula-master buckets verify --all finds an index that cannot be read.",
    });
  }
  return problems;
}

/** Looks how buckets stand. @throws FulaError FULA_DATABASE_UNREACHABLE */
export async function readBucketReport(pool: Pool, loaded: LoadedConfig, clock: Clock): Promise<BucketReport> {
  const beganMs = clock.monotonicMs();
  const { mode, serving } = await readSavingState(pool);
  const arbiterMs = Math.round(clock.monotonicMs() - beganMs);
  const counts = await readCounts(pool);
  const { waiting, oldestSeconds } = await readQueueFigures(pool);
  const report = {
    mode,
    serving: serving.cas.length + serving.single.length + serving.fleet.length,
    buckets: Number(counts.buckets),
    newestCommit: counts.newest?.toISOString() ?? null,
    arbiterMs,
    garbage: waiting,
    oldestGarbageSeconds: oldestSeconds === null ? null : Math.round(oldestSeconds),
    holds: Number(counts.holds),
    notImported: Number(counts.of_fleet) + (await countOldBuckets(pool)),
  };
  return { ...report, problems: problemsOf(report, loaded) };
}
