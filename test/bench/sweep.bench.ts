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
import { SweepFindings } from "../../src/lib/pinset/sweep-findings.ts";
import { rawBytes, rawCid } from "../support/pins.ts";

/** One sweep in a process of its own, and the least that anyone could do: list the pins and stat every block. */
export interface SweepResult {
  readonly pins: number;
  readonly sweepMs: number;
  readonly plainMs: number;
  /** The sweep's time divided by the plain way's. */
  readonly ratio: number;
  /** Highest resident memory of the sweeping process. */
  readonly peakMB: number;
}

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
  await using findings = SweepFindings.temporary();
  await using alerts = new AlertLog(null);
  const signal = new AbortController().signal;
  const figures = await sweep(
    { cluster, sources: inOrder(cluster, dir), findings, alerts, clock: systemClock, signal },
    { replMin: 1, graceMs: 0, deep: false, recover: true, acceptEmpty: false, lastPins: null },
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
  process.stdout.write(JSON.stringify({ ms, peakMB: process.resourceUsage().maxRSS / 1024, ok }));
}

/** Sweeps pinsets of several sizes, every pin one raw block that is there. */
export async function benchSweep(): Promise<readonly SweepResult[]> {
  const results: SweepResult[] = [];
  for (const pins of SIZES) {
    const dir = await mkdtemp(join(tmpdir(), "fula-bench-sweep-"));
    try {
      await inChild("prepare", dir, pins);
      const plain = await inChild("plain", dir, pins);
      const swept = await inChild("sweep", dir, pins);
      if (plain.ok !== pins || swept.ok !== pins) throw new Error(`${swept.ok} of ${pins} pins were found ok`);
      results.push({ pins, sweepMs: swept.ms, plainMs: plain.ms, ratio: swept.ms / plain.ms, peakMB: swept.peakMB });
    } finally {
      await rm(dir, { recursive: true, force: true });
    }
  }
  return results;
}

if (import.meta.main) {
  const [part, dir, pins] = process.argv.slice(2);
  if (part !== undefined && dir !== undefined) {
    await child(part, dir, Number(pins));
  } else {
    process.stdout.write("Sweep, every pin one block, against listing the pins and one stat each:\n");
    for (const { pins: size, sweepMs, ratio, peakMB } of await benchSweep()) {
      const rate = Math.round((size / sweepMs) * 1_000);
      process.stdout.write(
        `  ${size} pins: ${(sweepMs / 1_000).toFixed(1)} s, ratio ${ratio.toFixed(2)}, ${rate} pins/s, peak ${Math.round(peakMB)} MB\n`,
      );
    }
  }
}
