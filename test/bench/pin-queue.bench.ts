import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../../src/lib/kernel/clock.ts";
import { createPool, type Pool } from "../../src/lib/postgres/pool.ts";
import { putsOf } from "../support/file-pinset.ts";
import {
  askForMany,
  jobsLeft,
  type PinWorkerProcess,
  type PinWorkerWish,
  startPinWorker,
} from "../support/pin-workers.ts";
import { startTestPostgres } from "../support/postgres-server.ts";

const PINS = Number(process.env["BENCH_PINS"] ?? 100_000);
const KILLS = Number(process.env["BENCH_KILLS"] ?? 20);
const MASTERS = ["m-1", "m-2"];
const WORKERS = 4;
const POLL_MS = 20;

type Start = (node: string, bare?: "take" | "tell") => Promise<PinWorkerProcess>;

/** Takes every row off a queue of one statement. @returns rows a second */
async function takeBare(pool: Pool, cids: readonly string[], how: "take" | "tell", start: Start): Promise<number> {
  await pool.query("drop table if exists bare_jobs");
  await pool.query(
    'create table bare_jobs (cid text collate "C" primary key, due_at timestamptz not null default clock_timestamp())',
  );
  await pool.query("create index bare_jobs_due on bare_jobs (due_at)");
  await pool.query("insert into bare_jobs (cid) select unnest($1::text[])", [cids]);
  await pool.query("analyze bare_jobs");
  const masters = await Promise.all(MASTERS.map(async (node) => await start(node, how)));
  const startedMs = systemClock.monotonicMs();
  for (const master of masters) master.go();
  await Promise.all(masters.map(async (master) => await master.done()));
  const tookMs = systemClock.monotonicMs() - startedMs;
  await Promise.all(masters.map(async (master) => await master[Symbol.asyncDispose]()));
  return (PINS * 1_000) / tookMs;
}

/** Works on all jobs, and kills masters meanwhile. @returns jobs a second */
async function work(pool: Pool, kills: number, start: Start): Promise<number> {
  const masters: (PinWorkerProcess | undefined)[] = await Promise.all(MASTERS.map(async (node) => await start(node)));
  // Each takes the place of one that is killed.
  const standby = await Promise.all(Array.from({ length: kills }, async (_, kill) => await start(`s-${kill}`)));
  const startedMs = systemClock.monotonicMs();
  for (const master of masters) master?.go();
  let killed = 0;
  for (let left = PINS; left > 0; left = await jobsLeft(pool)) {
    if (killed < kills && left <= PINS * (1 - (killed + 1) / (kills + 2))) {
      const index = killed % MASTERS.length;
      await masters[index]?.kill();
      masters[index] = standby[killed];
      masters[index]?.go();
      killed += 1;
    }
    await systemClock.sleep(POLL_MS);
  }
  const tookMs = systemClock.monotonicMs() - startedMs;
  await Promise.all(masters.map(async (master) => await master?.[Symbol.asyncDispose]()));
  if (killed !== kills) throw new Error(`Only ${killed} of ${kills} kills came in time`);
  return (PINS * 1_000) / tookMs;
}

function report(what: string, perSecond: number, bare: number): void {
  console.log(`${what.padEnd(52)} ${perSecond.toFixed(0).padStart(7)} jobs/s   ${(perSecond / bare).toFixed(2)} ×`);
}

/** Throughput of the pin queue, with and without masters that are killed, beside a bare claim and delete. */
export async function bench(): Promise<void> {
  const { postgres, stop } = await startTestPostgres();
  const { host, port, owner, template: database } = postgres;
  const connection = { host, port, database, user: owner.user, password: owner.password };
  const pool = createPool({ ...connection, part: "bench", node: "bench" });
  const pinsetDir = mkdtempSync(join(tmpdir(), "fula-bench-"));
  const compileCacheDir = mkdtempSync(join(tmpdir(), "fula-bench-"));
  const wish = { connection, pinsetDir, compileCacheDir, workers: WORKERS, claimMs: 2_000 } satisfies Omit<
    PinWorkerWish,
    "node"
  >;
  const start: Start = async (node, bare) => await startPinWorker({ ...wish, node, ...(bare && { bare }) });
  const refill = async (): Promise<readonly string[]> => {
    await pool.query("truncate pins, pin_jobs");
    rmSync(pinsetDir, { recursive: true });
    mkdirSync(pinsetDir);
    return await askForMany(pool, PINS);
  };
  try {
    let cids = await askForMany(pool, PINS);
    const bare = await takeBare(pool, cids, "take", start);
    report("bare claim and delete in one statement", bare, bare);
    report("the same, and the ledger told and billing with it", await takeBare(pool, cids, "tell", start), bare);
    cids = await refill();
    report(`pin queue, ${WORKERS} workers on ${MASTERS.length} masters`, await work(pool, 0, start), bare);
    cids = await refill();
    report(`the same through ${KILLS} kill -9`, await work(pool, KILLS, start), bare);
    const wrong = cids.filter((cid) => putsOf(pinsetDir, cid) !== 1).length;
    const { rows } = await pool.query<{ pinned: string }>(
      "select count(*) as pinned from pins where status = 'pinned'",
    );
    const pinned = Number(rows[0]?.pinned);
    console.log(`${pinned} of ${PINS} pinned, ${wrong} of them not put exactly once`);
    if (pinned !== PINS || wrong > 0) process.exitCode = 1;
  } finally {
    await pool.end();
    for (const dir of [pinsetDir, compileCacheDir]) rmSync(dir, { recursive: true, force: true });
    await stop();
  }
}
