import { chmodSync, existsSync, mkdtempSync, rmSync, statfsSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../../src/lib/kernel/clock.ts";
import { messageOf } from "../../src/lib/kernel/errors.ts";
import { ensurePostgresUser, planPostgresUser, type SystemUser } from "../../src/lib/runtime/postgres-user.ts";
import buildOnce from "../support/build.ts";
import { PG_BIN_DIR } from "../support/postgres-pair.ts";
import { until } from "../support/until.ts";
import { median } from "./measure.ts";
import { startOurs } from "./rivals/ours.ts";
import { startPatroni } from "./rivals/patroni.ts";
import { startRepmgr } from "./rivals/repmgr.ts";
import type { RivalCluster } from "./rivals/rival.ts";
import { judgeProbe, prepareProbe, type ProbeReport, WriteProbe } from "./rivals/write-probe.ts";

const ROUNDS = Number(process.env["BENCH_ROUNDS"] ?? 20);
/** A tool that has not let a write through by then has not done it. */
const PATIENCE_MS = 120_000;
/** Of writes before and after each change. */
const WARM_WRITES = 200;
const MEMORY_DIR = "/dev/shm";
const MEMORY_BYTES_MIN = 6 * 1024 ** 3;

interface Tool {
  readonly name: string;
  readonly programs: readonly string[];
  readonly packages: string;
  readonly start: (dir: string, user: SystemUser) => Promise<RivalCluster>;
}

const TOOLS: readonly Tool[] = [
  { name: "fula-master", programs: [], packages: "", start: async (dir) => await startOurs(dir) },
  {
    name: "Patroni",
    programs: ["/usr/bin/patroni", "/usr/bin/patronictl", "/usr/bin/etcd"],
    packages: "patroni etcd-server",
    start: startPatroni,
  },
  { name: "repmgr", programs: ["/usr/bin/repmgr"], packages: "repmgr postgresql-15-repmgr", start: startRepmgr },
];
const BASELINE = "Patroni";

/** What is measured, in the order of a round; goals in milliseconds, median and worst. */
const MEASURES = {
  gap: { title: "planned switchover: longest time without an acknowledged write", goal: [600, 1_000] },
  sync: { title: "fenced failover: from the operator's command to the first synchronous write", goal: [500, 1_000] },
  work: { title: "the same without the start of the program", goal: [500, 1_000] },
  first: { title: "fenced failover: to the first write, whoever has it", goal: null },
} as const;
type Measure = keyof typeof MEASURES;

interface Result {
  readonly timesMs: Record<Measure, number[]>;
  lost: number;
  doubled: number;
  acknowledged: number;
  /** Why it was left out from some round on; null where it was not. */
  broken: string | null;
}

async function takesWrites(probe: WriteProbe, more: number): Promise<void> {
  const goal = probe.count() + more;
  await until("writes are acknowledged", async () => await Promise.resolve(probe.count() >= goal), PATIENCE_MS);
}

async function judge(cluster: RivalCluster, report: ProbeReport, fromMs: number, result: Result): Promise<number> {
  const client = await cluster.connect();
  const { gapMs, lost, doubled, acknowledged } = await judgeProbe(client, report, fromMs);
  await client.end();
  result.lost += lost;
  result.doubled += doubled;
  result.acknowledged += acknowledged;
  return gapMs;
}

/** Writes without pause while something is done to the cluster. @returns what was written, and when it was begun */
async function underLoad(
  cluster: RivalCluster,
  act: () => Promise<number>,
): Promise<{ readonly report: ProbeReport; readonly beganMs: number }> {
  const client = await cluster.connect();
  await prepareProbe(client);
  await client.end();
  const probe = new WriteProbe({ ports: cluster.ports, login: cluster.login });
  try {
    await takesWrites(probe, WARM_WRITES);
    const beganMs = await act();
    await takesWrites(probe, WARM_WRITES);
    return { report: await probe.stop(), beganMs };
  } finally {
    await probe.stop();
  }
}

async function switchOver(cluster: RivalCluster, result: Result): Promise<void> {
  const { report, beganMs } = await underLoad(cluster, async () => {
    const nowMs = systemClock.monotonicMs();
    await cluster.switchover();
    return nowMs;
  });
  result.timesMs.gap.push(await judge(cluster, report, beganMs, result));
  await cluster.settled();
}

async function failOver(cluster: RivalCluster, result: Result): Promise<void> {
  let killed = "";
  let workedMs: number | null = null;
  const { report, beganMs } = await underLoad(cluster, async () => {
    killed = await cluster.kill();
    const nowMs = systemClock.monotonicMs();
    workedMs = await cluster.failover();
    return nowMs;
  });
  await judge(cluster, report, beganMs, result);
  // What the killed one still acknowledged may be read after it is dead.
  const last = report.acknowledged.findLast(({ atMs }) => atMs <= beganMs);
  const after = report.acknowledged.filter(({ atMs, port }) => atMs > beganMs && port !== last?.port);
  const [first, sync] = [after[0], after.find(({ isSync }) => isSync)];
  if (first !== undefined) result.timesMs.first.push(first.atMs - beganMs);
  if (sync !== undefined) result.timesMs.sync.push(sync.atMs - beganMs);
  if (sync !== undefined && workedMs !== null) result.timesMs.work.push(sync.atMs - workedMs);
  await cluster.revive(killed);
}

async function round(cluster: RivalCluster, result: Result): Promise<void> {
  if (result.broken !== null) return;
  try {
    await switchOver(cluster, result);
    await failOver(cluster, result);
  } catch (error) {
    result.broken = messageOf(error);
    console.log(`${cluster.name} is left out from here on: ${result.broken}`);
  }
}

function printMeasure(measure: Measure, results: ReadonlyMap<string, Result>): void {
  const { title, goal } = MEASURES[measure];
  console.log(`\n${title}`);
  const baseMs = median(results.get(BASELINE)?.timesMs[measure] ?? []);
  for (const [name, { timesMs, lost, doubled, acknowledged }] of results) {
    const values = timesMs[measure];
    if (values.length === 0) {
      if (measure !== "work") console.log(`  ${name.padEnd(12)} not seen within ${WARM_WRITES} writes`);
      continue;
    }
    const [middleMs, worstMs] = [median(values), Math.max(...values)];
    const ratio = Number.isNaN(baseMs) ? "" : `, ${(middleMs / baseMs).toFixed(2)} × ${BASELINE}'s`;
    const writes = `${lost} lost, ${doubled} doubled of ${acknowledged} acknowledged writes`;
    const times = `median ${middleMs.toFixed(0)} ms, worst ${worstMs.toFixed(0)} ms of ${values.length}`;
    console.log(`  ${name.padEnd(12)} ${times}${ratio}; ${writes}`);
    if (name !== TOOLS[0]?.name || goal === null) continue;
    const isMet = middleMs <= goal[0] && worstMs <= goal[1];
    console.log(`  ${"".padEnd(12)} goal on a quiet machine: ${goal[0]} / ${goal[1]} ms: ${isMet ? "met" : "NOT MET"}`);
  }
}

function placeOfData(): string {
  if (!existsSync(MEMORY_DIR)) return tmpdir();
  const { bavail, bsize } = statfsSync(MEMORY_DIR);
  return bavail * bsize >= MEMORY_BYTES_MIN ? MEMORY_DIR : tmpdir();
}

/** The write gaps of planned and unplanned changes of the primary, beside Debian's Patroni and repmgr in turns. */
export async function bench(): Promise<void> {
  if (!existsSync(join(PG_BIN_DIR, "pg_basebackup"))) {
    console.log("PostgreSQL's programs are not here: apt-get install postgresql-15");
    return;
  }
  buildOnce();
  const { user } = await ensurePostgresUser(await planPostgresUser({ runAs: undefined, dataDir: "/nonexistent" }));
  const dir = mkdtempSync(join(placeOfData(), "fula-bench-failover-"));
  chmodSync(dir, 0o755);
  const results = new Map<string, Result>();
  try {
    await using running = new AsyncDisposableStack();
    const clusters: { readonly cluster: RivalCluster; readonly result: Result }[] = [];
    for (const { name, programs, packages, start } of TOOLS) {
      if (!programs.every((program) => existsSync(program))) {
        console.log(`${name} is not here and left out: apt-get install ${packages}`);
        continue;
      }
      const timesMs = { gap: [], sync: [], work: [], first: [] };
      const result: Result = { timesMs, lost: 0, doubled: 0, acknowledged: 0, broken: null };
      const cluster = running.use(await start(join(dir, name), user));
      console.log(`${name}: ${cluster.name}`);
      results.set(name, result);
      clusters.push({ cluster, result });
    }
    for (let index = 0; index < ROUNDS; index += 1) {
      for (const { cluster, result } of clusters) await round(cluster, result);
    }
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
  for (const measure of ["gap", "first", "sync", "work"] as const) printMeasure(measure, results);
}
