import { execFile } from "node:child_process";
import { mkdir, mkdtemp, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { base32upper } from "multiformats/bases/base32";
import { CID } from "multiformats/cid";
import { z } from "zod";
import { openLocalBlockStore } from "../../src/lib/blocks/local.ts";
import { type LocalCluster, openLocalCluster } from "../../src/lib/cluster/local.ts";
import { makePin } from "../../src/lib/cluster/pins.ts";
import { systemClock } from "../../src/lib/kernel/clock.ts";
import { AlertLog } from "../../src/lib/pinset/alert-log.ts";
import { inOrder } from "../../src/lib/pinset/in-order.ts";
import { sweep } from "../../src/lib/pinset/sweep.ts";
import { SweepMemory } from "../../src/lib/pinset/sweep-memory.ts";
import { rawBytes, rawCid } from "../support/pins.ts";
import { peakMemoryMB } from "./measure.ts";

const SIZES = [10_000, 100_000] as const;
const WRITES_AT_ONCE = 500;
const resultSchema = z.object({ ms: z.number(), peakMB: z.number(), ok: z.number() });

async function open(dir: string): Promise<LocalCluster> {
  const blocks = await openLocalBlockStore(join(dir, "blocks"));
  const dbFile = join(dir, "pins.sqlite");
  return openLocalCluster({ dbFile, clusterId: "bench", peerId: "bench", blocks, clock: systemClock, create: true });
}

/** Where the block store keeps a block: flatfs, next-to-last/2 (src/lib/blocks/local.ts). */
function pathOf(dir: string, cid: CID): string {
  const key = base32upper.encode(cid.multihash.bytes).slice(1);
  return join(dir, "blocks", key.slice(-3, -1), `${key}.data`);
}

async function prepare(dir: string, pins: number): Promise<void> {
  await using cluster = await open(dir);
  const shards = new Set<string>();
  for (let from = 0; from < pins; from += WRITES_AT_ONCE) {
    const numbers = Array.from({ length: Math.min(WRITES_AT_ONCE, pins - from) }, (_, index) => from + index);
    await Promise.all(
      numbers.map(async (number) => {
        const cid = rawCid(`bench ${number}`);
        const path = pathOf(dir, cid);
        const shard = join(path, "..");
        if (!shards.has(shard)) await mkdir(shard, { recursive: true });
        shards.add(shard);
        // Not through the store: a hundred thousand fsyncs are not what is measured here.
        await writeFile(path, rawBytes(`bench ${number}`));
        await cluster.put(makePin(cid.toString(), "2026-01-01T00:00:00Z", { name: `object-${number}` }));
      }),
    );
  }
}

async function runSweep(dir: string): Promise<number> {
  await using cluster = await open(dir);
  await using memory = SweepMemory.temporary();
  await using alerts = new AlertLog(null);
  const signal = new AbortController().signal;
  const figures = await sweep(
    { cluster, sources: inOrder(cluster, dir), ledger: null, memory, alerts, clock: systemClock, signal },
    {
      replMin: 1,
      graceMs: 0,
      waitMs: 0,
      deep: false,
      repair: true,
      repairLedger: false,
      acceptEmpty: false,
      lastPins: null,
      forwardAlerts: false,
    },
  );
  return figures.ok;
}

async function runPlain(dir: string): Promise<number> {
  await using cluster = await open(dir);
  let ok = 0;
  for await (const pin of cluster.pins()) {
    if ((await stat(pathOf(dir, CID.parse(pin.cid)))).isFile()) ok += 1;
  }
  return ok;
}

/** Runs one part in a fresh process, so that its peak memory is its own. */
async function inChild(
  part: "prepare" | "sweep" | "plain",
  dir: string,
  pins: number,
): Promise<z.infer<typeof resultSchema>> {
  const { stdout } = await promisify(execFile)(process.execPath, [import.meta.filename, part, dir, String(pins)]);
  return resultSchema.parse(JSON.parse(stdout));
}

async function child(part: string, dir: string, pins: number): Promise<void> {
  const startedMs = performance.now();
  let ok = pins;
  if (part === "prepare") await prepare(dir, pins);
  else ok = await (part === "sweep" ? runSweep : runPlain)(dir);
  const ms = performance.now() - startedMs;
  process.stdout.write(JSON.stringify({ ms, peakMB: peakMemoryMB(), ok }));
}

const MEMORY_MB_MAX = 300;

/**
 * Sweeps pinsets of two sizes, every pin one raw block that is there, against the least that anyone could do: list the
 * pins and stat every block. @throws Error where a pin was not found ok, or memory went over its bound
 */
export async function bench(): Promise<void> {
  for (const pins of SIZES) {
    const dir = await mkdtemp(join(tmpdir(), "fula-bench-sweep-"));
    try {
      await inChild("prepare", dir, pins);
      const plain = await inChild("plain", dir, pins);
      const swept = await inChild("sweep", dir, pins);
      if (plain.ok !== pins || swept.ok !== pins) throw new Error(`${swept.ok} of ${pins} pins were found ok`);
      const rate = Math.round((pins / swept.ms) * 1_000);
      const times = `${(swept.ms / 1_000).toFixed(1)} s, ${rate} pins/s`;
      console.log(`${pins} pins: ${times}, ratio to list and stat ${(swept.ms / plain.ms).toFixed(2)}`);
      console.log(`  peak memory ${Math.round(swept.peakMB)} MB (bound ${MEMORY_MB_MAX} MB)`);
      if (swept.peakMB > MEMORY_MB_MAX) throw new Error(`a sweep of ${pins} pins took ${swept.peakMB} MB`);
    } finally {
      await rm(dir, { recursive: true, force: true });
    }
  }
}

if (import.meta.main) {
  const [part = "", dir = "", pins = ""] = process.argv.slice(2);
  await child(part, dir, Number(pins));
}
