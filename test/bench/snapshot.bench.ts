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

const run = promisify(execFile);

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
    peakMB: process.resourceUsage().maxRSS / 1024,
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

function row(pins: number, sorted: boolean, result: Result, baseMs: number): string {
  const { listMs, takeMs, verifyMs, planMs, peakMB, streamBytes, fileBytes } = result;
  const totalMs = takeMs + verifyMs + planMs;
  const ratio = (ms: number): string => (ms / baseMs).toFixed(1).padStart(5);
  const s = (ms: number): string => `${(ms / 1_000).toFixed(2)} s`.padStart(8);
  return [
    `${pins} pins, source ${sorted ? "sorted" : "unsorted"}: ${(streamBytes / 1e6).toFixed(0)} MB of records in ${(fileBytes / 1e6).toFixed(0)} MB`,
    `  zstd -3 + sha256sum     ${s(baseMs)}   1.0 ×`,
    `  take, with listing      ${s(takeMs)} ${ratio(takeMs)} ×   (listing alone ${s(listMs).trim()})`,
    `  verify, every record    ${s(verifyMs)} ${ratio(verifyMs)} ×`,
    `  restore plan            ${s(planMs)} ${ratio(planMs)} ×   (lists the pinset, too)`,
    `  all three               ${s(totalMs)} ${ratio(totalMs)} ×   peak memory ${Math.round(peakMB)} MB`,
  ].join("\n");
}

/** Takes, verifies and plans to restore pinsets of several sizes, against `zstd` and `sha256sum` over the same bytes. */
export async function bench(): Promise<void> {
  for (const sorted of [true, false]) {
    const peaks: number[] = [];
    for (const pins of SIZES) {
      const dir = await mkdtemp(join(tmpdir(), "fula-bench-snapshot-"));
      try {
        const result = await inChild(dir, pins, sorted);
        peaks.push(result.peakMB);
        console.log(row(pins, sorted, result, await baselineMs(dir, result.file)));
      } finally {
        await rm(dir, { recursive: true, force: true });
      }
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
