import { execFile } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { z } from "zod";
import { systemClock } from "../../src/lib/kernel/clock.ts";
import { keepYoungGenerationSmall } from "../../src/lib/kernel/heap.ts";
import { readSnapshotPins } from "../../src/lib/pinset/reader.ts";
import { planRestore } from "../../src/lib/pinset/restore-plan.ts";
import { takeSnapshot } from "../../src/lib/pinset/snapshot.ts";
import { loadTrustedKeys } from "../../src/lib/pinset/trust.ts";
import { verifySnapshot } from "../../src/lib/pinset/verify.ts";
import { createSyntheticCluster } from "../support/synthetic-cluster.ts";
import { median, peakMemoryMB } from "./measure.ts";

const run = promisify(execFile);

/** Ours and the baseline take turns, so that whatever slows the machine for a while slows both. */
const ROUNDS = 5;
const SIZES = [100_000, 1_000_000] as const;

/** What the process of one run may hold, and how much more for ten times the pins: "flat". */
const PEAK_MB_MAX = 300;
const PEAK_GROWTH_MAX = 1.6;

const resultSchema = z.object({
  file: z.string(),
  streamBytes: z.number(),
  fileBytes: z.number(),
  listMs: z.number(),
  takeMs: z.number(),
  verifyMs: z.number(),
  planMs: z.number(),
  peakMB: z.number(),
});

type Result = z.infer<typeof resultSchema>;

async function timed<T>(part: () => Promise<T>): Promise<{ readonly ms: number; readonly value: T }> {
  const startedMs = performance.now();
  const value = await part();
  return { ms: performance.now() - startedMs, value };
}

async function countAll(source: AsyncIterable<unknown>): Promise<number> {
  let count = 0;
  for await (const _ of source) count += 1;
  return count;
}

/** Everything in one process: its peak memory is that of the hungriest part. */
async function work(dir: string, pins: number, sorted: boolean): Promise<Result> {
  keepYoungGenerationSmall();
  const cluster = createSyntheticCluster(pins, sorted);
  const stateDir = join(dir, "state");
  const paths = {
    snapshotsDir: join(dir, "snapshots"),
    keysDir: join(dir, "keys"),
    stateDir,
    locksDir: join(stateDir, "locks"),
  };
  const list = await timed(async () => countAll(cluster.pins()));
  const deps = { cluster, paths, trustedKeys: [], clock: systemClock };
  const take = await timed(async () => takeSnapshot(deps, { maxShrinkPercent: 10, keep: null }));
  const { file, streamBytes, bytes: fileBytes } = take.value;
  const trustedKeys = await loadTrustedKeys(paths.keysDir, []);
  const { clusterId } = cluster;
  const verify = await timed(async () => verifySnapshot(file, { trustedKeys, clusterId, clock: systemClock }));
  if (!verify.value.ok || verify.value.pinCount !== pins) throw new Error("The snapshot does not verify");
  // Compared with itself, pin by pin: what a restore does when nothing is missing.
  const present = createSyntheticCluster(pins, true).pins();
  const plan = await timed(async () => countAll(planRestore(readSnapshotPins(file), present, { nowMs: 0 })));
  if (plan.value !== pins) throw new Error(`The plan has ${plan.value} entries`);
  return {
    file,
    streamBytes,
    fileBytes,
    listMs: list.ms,
    takeMs: take.ms,
    verifyMs: verify.ms,
    planMs: plan.ms,
    peakMB: peakMemoryMB(),
  };
}

async function inChild(dir: string, pins: number, sorted: boolean): Promise<Result> {
  const args = [import.meta.filename, dir, String(pins), String(sorted)];
  return resultSchema.parse(JSON.parse((await run(process.execPath, args)).stdout));
}

/** What nobody can do without: compress the same bytes once and hash them once. */
async function baselineMs(dir: string, file: string): Promise<number> {
  const plain = join(dir, "plain.jsonl");
  await run("zstd", ["-dqf", file, "-o", plain]);
  const zstd = await timed(async () => run("zstd", ["-qf", "-3", plain, "-o", join(dir, "again.zst")]));
  const sha256 = await timed(async () => run("sha256sum", [plain]));
  return zstd.ms + sha256.ms;
}

interface Round {
  readonly result: Result;
  readonly baseMs: number;
}

/** The median over the rounds, in seconds and as a multiple of the same round's baseline. */
function line(name: string, rounds: readonly Round[], msOf: (round: Round) => number): string {
  const seconds = median(rounds.map((round) => msOf(round) / 1_000));
  const ratio = median(rounds.map((round) => msOf(round) / round.baseMs));
  return `  ${name.padEnd(22)} ${seconds.toFixed(2).padStart(6)} s ${ratio.toFixed(1).padStart(5)} ×`;
}

function table(pins: number, sorted: boolean, rounds: readonly Round[]): string {
  const { streamBytes, fileBytes } = rounds[0]?.result ?? { streamBytes: 0, fileBytes: 0 };
  return [
    `${pins} pins, source ${sorted ? "sorted" : "unsorted"}: ${(streamBytes / 1e6).toFixed(0)} MB of records in ${(fileBytes / 1e6).toFixed(0)} MB`,
    line("zstd -3 + sha256sum", rounds, ({ baseMs }) => baseMs),
    line("list the source", rounds, ({ result }) => result.listMs),
    line("take, with listing", rounds, ({ result }) => result.takeMs),
    line("verify, every record", rounds, ({ result }) => result.verifyMs),
    line("restore plan, listing", rounds, ({ result }) => result.planMs),
    line("take, verify and plan", rounds, ({ result }) => result.takeMs + result.verifyMs + result.planMs),
    `  peak memory            ${Math.round(peakOf(rounds))} MB`,
  ].join("\n");
}

function peakOf(rounds: readonly Round[]): number {
  return Math.max(...rounds.map(({ result }) => result.peakMB));
}

async function playRound(pins: number, sorted: boolean): Promise<Round> {
  const dir = await mkdtemp(join(tmpdir(), "fula-bench-snapshot-"));
  try {
    const result = await inChild(dir, pins, sorted);
    return { result, baseMs: await baselineMs(dir, result.file) };
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

/** Takes, verifies and plans to restore pinsets of several sizes, against `zstd` and `sha256sum` over the same bytes. */
export async function bench(): Promise<void> {
  for (const sorted of [true, false]) {
    const peaks: number[] = [];
    for (const pins of SIZES) {
      const rounds: Round[] = [];
      while (rounds.length < ROUNDS) rounds.push(await playRound(pins, sorted));
      peaks.push(peakOf(rounds));
      console.log(table(pins, sorted, rounds));
    }
    const growth = (peaks.at(-1) ?? 0) / (peaks[0] ?? 1);
    const isFlat = growth <= PEAK_GROWTH_MAX && Math.max(...peaks) < PEAK_MB_MAX;
    console.log(
      `peak memory of the larger one is ${growth.toFixed(2)} × that of the smaller: ${isFlat ? "flat" : "NOT FLAT"}\n`,
    );
    if (!isFlat) process.exitCode = 1;
  }
}

if (import.meta.main) {
  const [dir = "", pins = "", sorted = ""] = process.argv.slice(2);
  process.stdout.write(JSON.stringify(await work(dir, Number(pins), sorted === "true")));
}
