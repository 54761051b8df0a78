import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { z } from "zod";
import { openKuboBlockStore } from "../../src/lib/blocks/kubo.ts";
import { makePin } from "../../src/lib/cluster/pins.ts";
import { loadConfig } from "../../src/lib/config/load.ts";
import { systemClock } from "../../src/lib/kernel/clock.ts";
import { keepYoungGenerationSmall } from "../../src/lib/kernel/heap.ts";
import { runSweep } from "../../src/lib/stack/sweep-run.ts";
import { type ClusterBox, makeClusterBox } from "../support/cluster-box.ts";
import { type ClusterPeer, startCluster } from "../support/cluster-processes.ts";
import { rawBytes, rawCid } from "../support/pins.ts";
import { median, peakMemoryMB } from "./measure.ts";

const run = promisify(execFile);

const SIZES = [10_000, 100_000] as const;
const ROUNDS = 3;
const WRITES_AT_ONCE = 16;
/** Node.js with all that a sweep loads takes 150 MB, the two sorts 100 MB each once the lists no longer fit into one run. */
const MEMORY_MB_MAX = 400;
/** Much more than it takes; Kubo pins some hundred blocks a second. */
const SETTLE_MS = 1_800_000;
const resultSchema = z.object({ ms: z.number(), peakMB: z.number(), ok: z.number() });

async function addPins(box: ClusterBox, peer: ClusterPeer, from: number, to: number): Promise<void> {
  const blocks = openKuboBlockStore(peer.kubo.api);
  let next = from;
  await Promise.all(
    Array.from({ length: WRITES_AT_ONCE }, async () => {
      while (next < to) {
        const seed = `bench ${next}`;
        next += 1;
        await blocks.put(rawCid(seed), rawBytes(seed));
        const factors = { replication_factor_min: 1, replication_factor_max: 1 };
        await box.pinset.put(makePin(rawCid(seed).toString(), "2026-01-01T00:00:00Z", { name: seed, ...factors }));
      }
    }),
  );
  const deadlineMs = performance.now() + SETTLE_MS;
  for (;;) {
    let pinned = 0;
    for await (const { peers } of box.pinset.statuses()) if (peers[0]?.status === "pinned") pinned += 1;
    if (pinned === to) return;
    if (performance.now() > deadlineMs) throw new Error(`${pinned} of ${to} pins came to be pinned`);
    await systemClock.sleep(5_000);
  }
}

async function curlMs(peer: ClusterPeer): Promise<number> {
  const startedMs = performance.now();
  for (const path of ["/allocations", "/pins"]) {
    await run("curl", ["--silent", "--fail", "--output", "/dev/null", `${peer.api}${path}`]);
  }
  return performance.now() - startedMs;
}

/** Runs one sweep in a fresh process, so that its peak memory is its own. */
async function sweepInChild(box: ClusterBox): Promise<z.infer<typeof resultSchema>> {
  const { stdout } = await run(process.execPath, [import.meta.filename, box.baseDir]);
  return resultSchema.parse(JSON.parse(stdout));
}

async function child(baseDir: string): Promise<void> {
  // As the command does.
  keepYoungGenerationSmall();
  const loaded = await loadConfig({ globals: { baseDir }, env: {}, cwd: "/" });
  const startedMs = performance.now();
  const report = await runSweep(
    loaded,
    {
      deep: false,
      acceptEmpty: false,
      graceMs: 0,
      waitMs: 0,
      ledger: false,
      repairLedger: false,
      forgetPeers: [],
      dryRun: false,
    },
    { clock: systemClock, signal: new AbortController().signal },
  );
  process.stdout.write(JSON.stringify({ ms: performance.now() - startedMs, peakMB: peakMemoryMB(), ok: report.ok }));
}

/**
 * Sweeps the pinset of a real IPFS Cluster against the least that anyone could do: have curl read the same two streams
 * and throw them away. @throws Error where a pin was not found ok, or memory went over its bound
 */
export async function bench(): Promise<void> {
  await using cluster = await startCluster([{ name: "master" }]);
  const peer = cluster.peer("master");
  await using box = makeClusterBox(peer, "sweep: { replMin: 1 }\n");
  let there = 0;
  for (const pins of SIZES) {
    await addPins(box, peer, there, pins);
    there = pins;
    const sweeps: z.infer<typeof resultSchema>[] = [];
    const curls: number[] = [];
    for (let round = 0; round < ROUNDS; round += 1) {
      curls.push(await curlMs(peer));
      sweeps.push(await sweepInChild(box));
    }
    const lost = sweeps.find(({ ok }) => ok !== pins);
    if (lost !== undefined) throw new Error(`${lost.ok} of ${pins} pins were found ok`);
    const [sweepMs, plainMs] = [median(sweeps.map(({ ms }) => ms)), median(curls)];
    const peakMB = Math.max(...sweeps.map((sweep) => sweep.peakMB));
    console.log(
      `${pins} pins: ${(sweepMs / 1_000).toFixed(1)} s, curl ${(plainMs / 1_000).toFixed(1)} s, ratio ${(sweepMs / plainMs).toFixed(2)}`,
    );
    console.log(`  peak memory ${Math.round(peakMB)} MB (bound ${MEMORY_MB_MAX} MB)`);
    if (peakMB > MEMORY_MB_MAX) throw new Error(`a sweep of ${pins} pins took ${peakMB} MB`);
  }
}

if (import.meta.main) await child(process.argv[2] ?? "");
