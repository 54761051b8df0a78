import { systemClock } from "../../src/lib/kernel/clock.ts";
import { verifyLedger } from "../../src/lib/billing/verify.ts";
import type { Pool } from "../../src/lib/postgres/pool.ts";
import type { CronWorkers, MasterOrders } from "../support/cron-worker.ts";
import { freshDatabase, type TestDatabase } from "../support/postgres.ts";
import { runErrands } from "./errands.ts";
import { checkBooks, readBooks } from "./books.ts";
import { fillLedger } from "./fill-ledger.ts";
import { Fleet } from "./fleet.ts";
import { describeScenario, type Fault, type Scenario } from "./scenario.ts";
import { Watch } from "./watch.ts";

/** Masters of whom nothing new has come for so long have stopped for ever, on a machine with much else to do too. */
const IDLE_MS = 60_000;
/** Lines of each kind that are shown where a scenario fails. */
const SHOWN = 12;
const POLL_MS = 50;
/** Masters that are told to end while an hour turns leave it begun, which is right, and no books to be checked. */
const HOUR_END_SECONDS = 30;

/** What came of a scenario. */
export interface ScenarioOutcome {
  /** What masters and errands did that no fault explains. */
  readonly faults: readonly string[];
  /** What `billing verify` finds wrong in the books. */
  readonly verified: readonly string[];
  /** What is wrong in them by the fees that were worked out apart. */
  readonly recomputed: readonly string[];
  readonly logs: readonly string[];
  readonly struck: readonly Fault[];
  /** Messages that the masters sent. */
  readonly sent: { readonly work: number; readonly lease: number };
  readonly durationMs: number;
}

/** What the masters have written so far. */
interface Progress {
  /**
   * Every hour that is over is done, no further one is about to be, and nobody is suspended any more who stores no more than
   * the free tier.
   */
  readonly billed: boolean;
  /** Only grows. */
  readonly written: number;
}

async function readProgress(pool: Pool, { freeTierBytes }: Scenario): Promise<Progress> {
  const { rows } = await pool.query<Progress>(
    `select (select count(*) from credit_history)::integer + (select count(*) from billing_hours where state = 'done')::integer as written,
     not exists (
       select from billing_mode,
                   generate_series(first_hour, date_trunc('hour', clock_timestamp(), 'UTC') - interval '1 hour', interval '1 hour') as h
        where not exists (select from billing_hours b where b.hour = h and b.state = 'done')
     ) and not exists (
       select from user_credits c join user_usage u on u.account_id = c.id where c.is_suspended = 1 and u.bytes <= $1
     ) and extract(epoch from clock_timestamp())::bigint % 3600 < 3600 - $2::integer as billed`,
    [freeTierBytes, HOUR_END_SECONDS],
  );
  return rows[0] ?? { billed: false, written: 0 };
}

/** @returns false where nothing new was written for `idleMs`, or not all within `limitMs` */
async function untilBilled(pool: Pool, scenario: Scenario, idleMs: number, limitMs: number): Promise<boolean> {
  const endMs = systemClock.monotonicMs() + limitMs;
  let written = -1;
  let sinceMs = 0;
  for (;;) {
    const progress = await readProgress(pool, scenario);
    if (progress.billed) return true;
    const nowMs = systemClock.monotonicMs();
    if (progress.written !== written) sinceMs = nowMs;
    written = progress.written;
    if (nowMs - sinceMs > idleMs || nowMs > endMs) return false;
    await systemClock.sleep(POLL_MS);
  }
}

/** Sessions that a cut left behind may still be writing: the books are not closed before they are over. */
async function areSessionsOver(pool: Pool): Promise<boolean> {
  const { rows } = await pool.query<{ over: boolean }>(
    `select not exists (
       select from pg_stat_activity where datname = current_database() and application_name like 'fula-master/%@master-%'
     ) as over`,
  );
  return rows[0]?.over === true;
}

async function waitFor(timeoutMs: number, ask: () => Promise<boolean>): Promise<boolean> {
  const deadlineMs = systemClock.monotonicMs() + timeoutMs;
  while (systemClock.monotonicMs() < deadlineMs) {
    if (await ask()) return true;
    await systemClock.sleep(POLL_MS);
  }
  return false;
}

/** What the books look like to `billing verify`, and to the check that knows nothing of it. */
async function findings(
  database: TestDatabase,
  scenario: Scenario,
  firstHourMs: number,
): Promise<Pick<ScenarioOutcome, "verified" | "recomputed">> {
  const { checks } = await verifyLedger(database.pool);
  return {
    verified: checks.flatMap(({ name, examples }) => examples.map((example) => `billing verify, ${name}: ${example}`)),
    recomputed: checkBooks(await readBooks(database.pool, scenario, firstHourMs), scenario, firstHourMs),
  };
}

/**
 * Lets the masters bill what there is, on a ledger of their own, while the scenario's faults come upon them.
 * @param limitMs for masters that may never be through
 */
export async function runScenario(
  scenario: Scenario,
  workers: CronWorkers,
  engine: MasterOrders["engine"] = "ours",
  limitMs: number = Number.POSITIVE_INFINITY,
): Promise<ScenarioOutcome> {
  const watch = new Watch();
  return await watch.over(playScenario(scenario, { workers, engine, limitMs, watch }));
}

interface Play {
  readonly workers: CronWorkers;
  readonly engine: MasterOrders["engine"];
  readonly limitMs: number;
  readonly watch: Watch;
}

async function playScenario(scenario: Scenario, { workers, engine, limitMs, watch }: Play): Promise<ScenarioOutcome> {
  const startedMs = systemClock.monotonicMs();
  watch.at("making its database");
  await using database = await freshDatabase();
  watch.at("filling the ledger");
  const firstHourMs = await fillLedger(database.pool, scenario);
  await using fleet = new Fleet(scenario, engine, workers, database.options);
  watch.at("the start of the masters", () => fleet.logs);
  await fleet.start();
  watch.at("the errands");
  const complaints = await runErrands(scenario, database);
  watch.at("billing");
  const hasBilled = await untilBilled(database.pool, scenario, IDLE_MS, limitMs);
  watch.at("the end of the masters");
  await fleet.stop();
  watch.at("the end of their sessions");
  const areOver = await waitFor(Math.min(IDLE_MS, limitMs), async () => areSessionsOver(database.pool));
  watch.at("reading the books, or dropping its database");
  const faults = [
    ...(hasBilled ? [] : [`not everything was billed, and nothing more for ${IDLE_MS} ms`]),
    ...(areOver ? [] : ["sessions of masters that have ended are still there"]),
    ...complaints,
    ...fleet.complaints,
  ];
  return {
    faults,
    ...(await findings(database, scenario, firstHourMs)),
    logs: fleet.logs,
    struck: fleet.struck,
    sent: fleet.sent,
    durationMs: systemClock.monotonicMs() - startedMs,
  };
}

/** True where nothing is wrong. */
export function isRight({ faults, verified, recomputed }: ScenarioOutcome): boolean {
  return faults.length + verified.length + recomputed.length === 0;
}

function firstLines(lines: readonly string[]): readonly string[] {
  const left = lines.length - SHOWN;
  return left > 0 ? [...lines.slice(0, SHOWN), `… and ${left} more`] : lines;
}

/** What to read where a scenario fails: what was wrong, what was done to the masters, how to do it again. */
export function describeOutcome(scenario: Scenario, outcome: ScenarioOutcome): string {
  return [
    `Seed ${scenario.seed} (again: FAULTS_SEED=${scenario.seed} npm run faults), ${outcome.struck.length} of these faults came:`,
    describeScenario(scenario),
    ...firstLines(outcome.faults),
    ...firstLines(outcome.verified),
    ...firstLines(outcome.recomputed),
    "What the masters said last:",
    ...outcome.logs,
  ].join("\n");
}
