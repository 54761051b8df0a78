import { createHash } from "node:crypto";
import { mkdtemp, open, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { CID } from "multiformats/cid";
import { createCid, RAW_CODEC } from "../../src/lib/blocks/cid.ts";
import { openLocalBlockStore } from "../../src/lib/blocks/local.ts";

/** One comparison: both sides measured in this run, interleaved. */
export interface BlocksResult {
  readonly what: string;
  /** Median over all rounds, in MB a second. */
  readonly oursMBps: number;
  readonly plainMBps: number;
  /** Our time for the work divided by the plain way's: 1 = the same. */
  readonly ratio: number;
}

const BLOCK_BYTES = 262_144;
const BLOCKS = 200;
const ROUNDS = 7;

interface Block {
  readonly cid: CID;
  readonly bytes: Uint8Array;
}

/** Different bytes in every round, or a put would find its block there and write nothing. */
function makeBlocks(round: number): readonly Block[] {
  return Array.from({ length: BLOCKS }, (_, index) => {
    const bytes = new Uint8Array(BLOCK_BYTES).fill(index);
    new DataView(bytes.buffer).setUint32(0, round * BLOCKS + index);
    return { cid: createCid(RAW_CODEC, bytes), bytes };
  });
}

async function time(work: () => Promise<void>): Promise<number> {
  const startedMs = performance.now();
  await work();
  return performance.now() - startedMs;
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}

function compare(what: string, ours: readonly number[], plain: readonly number[]): BlocksResult {
  const megabytes = (BLOCKS * BLOCK_BYTES) / 1e6;
  const [oursMs, plainMs] = [median(ours), median(plain)];
  return {
    what,
    oursMBps: (megabytes / oursMs) * 1_000,
    plainMBps: (megabytes / plainMs) * 1_000,
    ratio: oursMs / plainMs,
  };
}

async function writePlain(path: string, bytes: Uint8Array): Promise<void> {
  const handle = await open(path, "wx");
  await handle.writeFile(bytes);
  await handle.sync();
  await handle.close();
}

/**
 * Puts and gets 256 KiB blocks one after the other: the local block store (hash, temp file, fsync, rename, fsync of the
 * directory; hash again on the way out) against a plain write with fsync, and a plain read with SHA-256.
 */
export async function benchBlocks(): Promise<readonly BlocksResult[]> {
  const dir = await mkdtemp(join(tmpdir(), "fula-bench-blocks-"));
  const times = { put: [] as number[], write: [] as number[], get: [] as number[], read: [] as number[] };
  try {
    const store = await openLocalBlockStore(join(dir, "store"));
    for (let round = 0; round < ROUNDS; round += 1) {
      const blocks = makeBlocks(round);
      const plainPath = (index: number): string => join(dir, `${round}-${index}`);
      times.write.push(
        await time(async () => {
          for (const [index, { bytes }] of blocks.entries()) await writePlain(plainPath(index), bytes);
        }),
      );
      times.put.push(
        await time(async () => {
          for (const { cid, bytes } of blocks) await store.put(cid, bytes);
        }),
      );
      times.read.push(
        await time(async () => {
          for (const index of blocks.keys()) {
            createHash("sha256")
              .update(await readFile(plainPath(index)))
              .digest();
          }
        }),
      );
      times.get.push(
        await time(async () => {
          for (const { cid } of blocks) await store.get(cid);
        }),
      );
    }
    return [
      compare("put: against write + fsync", times.put, times.write),
      compare("get: against read + SHA-256", times.get, times.read),
    ];
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

if (import.meta.main) {
  const results = await benchBlocks();
  process.stdout.write(`Blocks of ${BLOCK_BYTES / 1024} KiB, ${BLOCKS} a round, median of ${ROUNDS} rounds:\n`);
  for (const { what, oursMBps, plainMBps, ratio } of results) {
    process.stdout.write(
      `  ${what}: ratio ${ratio.toFixed(2)} (${oursMBps.toFixed(0)} to ${plainMBps.toFixed(0)} MB/s)\n`,
    );
  }
}
