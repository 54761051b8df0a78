import { execFile } from "node:child_process";
import { hash } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { DatabaseSync } from "node:sqlite";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { CID } from "multiformats/cid";
import { create as createMultihash } from "multiformats/hashes/digest";
import { z } from "zod";
import { RAW_CODEC, SHA2_256 } from "../../src/lib/blocks/cid.ts";
import { buildTree } from "../../src/lib/buckets/tree/build-tree.ts";
import { editTree } from "../../src/lib/buckets/tree/edit-tree.ts";
import { compareKeys } from "../../src/lib/buckets/tree/key.ts";
import type { NewBlock, NodeReader, NodeWriter } from "../../src/lib/buckets/tree/node-store.ts";
import type { EntryRef, KeyRef } from "../../src/lib/buckets/tree/object-entry.ts";
import { findInTree, scanTree } from "../../src/lib/buckets/tree/scan-tree.ts";
import { keepYoungGenerationSmall } from "../../src/lib/kernel/heap.ts";
import { peakMemoryMB } from "./measure.ts";

const run = promisify(execFile);

const BATCHES = 10;
/** Changes that a log of 96 flushes brings to the tree. */
const BATCH_KEYS = 96;
const FINDS = 200;

/** What building, scanning and editing may take beside the process itself, whatever the number of keys. */
const GROWTH_MB_MAX = 200;
/** What compaction may cost a flush at a million random keys, so that 3.3 PUTs and 8 KB remain with the log. */
const PUTS_MAX = 2.25;
const BYTES_MAX = 6_600;

const treeSchema = z.object({
  buildMs: z.number(),
  scanMs: z.number(),
  findMs: z.number(),
  readsPerFind: z.number(),
  putsPerChange: z.number(),
  bytesPerChange: z.number(),
  startMB: z.number(),
  peakMB: z.number(),
});
const mapSchema = z.object({ buildMs: z.number(), scanMs: z.number(), startMB: z.number(), peakMB: z.number() });

/** Blocks in a file, so that what is measured is the tree's memory. */
class FileBlocks implements NodeReader, NodeWriter {
  readonly #db: DatabaseSync;
  readonly #insert: ReturnType<DatabaseSync["prepare"]>;
  readonly #select: ReturnType<DatabaseSync["prepare"]>;
  reads = 0;
  puts = 0;
  bytes = 0;

  constructor(path: string) {
    this.#db = new DatabaseSync(path);
    this.#db.exec("pragma journal_mode = off; pragma synchronous = off; pragma cache_size = -8000");
    this.#db.exec("create table blocks (digest blob primary key, bytes blob not null) strict, without rowid");
    this.#insert = this.#db.prepare("insert or ignore into blocks values (?, ?)");
    this.#select = this.#db.prepare("select bytes from blocks where digest = ?");
    this.#db.exec("begin");
  }

  async get(cid: CID): Promise<Uint8Array> {
    this.reads += 1;
    const bytes = this.#select.get(cid.multihash.digest)?.["bytes"];
    if (!(bytes instanceof Uint8Array)) throw new Error(`No block ${cid.toString()}`);
    return bytes;
  }

  async put({ cid, bytes }: NewBlock): Promise<void> {
    this.puts += 1;
    this.bytes += bytes.byteLength;
    this.#insert.run(cid.multihash.digest, bytes);
  }

  close(): void {
    this.#db.close();
  }
}

function cidOf(text: string): CID {
  return CID.createV1(RAW_CODEC, createMultihash(SHA2_256, hash("sha256", text, "buffer")));
}

function refAt(index: number): EntryRef {
  return { entry: cidOf(`e${index}`), content: cidOf(`c${index}`), sizeBytes: 4_096, modifiedMs: 1.764e12, etag: null };
}

/** `Qm` and 44 hex digits, ascending with the index as sorted hashes do, so that nobody has to hold and sort them. */
function keyAt(index: number, count: number): string {
  const step = Math.floor(2 ** 40 / count);
  const digits = hash("sha256", String(index), "hex");
  const place = index * step + (Number.parseInt(digits.slice(0, 8), 16) % step);
  return `Qm${place.toString(16).padStart(10, "0")}${digits.slice(8, 42)}`;
}

async function* items(count: number): AsyncGenerator<KeyRef> {
  for (let index = 0; index < count; index += 1) yield { key: keyAt(index, count), ref: refAt(index) };
}

function batch(round: number): readonly { readonly key: string; readonly ref: EntryRef }[] {
  return Array.from({ length: BATCH_KEYS }, (_, index) => {
    const key = `Qm${hash("sha256", `new ${round} ${index}`, "hex").slice(0, 44)}`;
    return { key, ref: refAt(index) };
  }).toSorted((a, b) => compareKeys(a.key, b.key));
}

async function timed<T>(part: () => Promise<T>): Promise<{ readonly ms: number; readonly value: T }> {
  const startedMs = performance.now();
  const value = await part();
  return { ms: performance.now() - startedMs, value };
}

async function measureTree(count: number): Promise<z.infer<typeof treeSchema>> {
  keepYoungGenerationSmall();
  const dir = await mkdtemp(join(tmpdir(), "fula-bench-tree-"));
  const blocks = new FileBlocks(join(dir, "blocks"));
  const startMB = peakMemoryMB();
  try {
    const built = await timed(async () => buildTree(items(count), blocks));
    let { root } = built.value;
    const scan = await timed(async () => {
      let seen = 0;
      for await (const _ of scanTree(blocks, root)) seen += 1;
      if (seen !== count) throw new Error(`The scan gave ${seen} keys`);
    });
    Object.assign(blocks, { reads: 0, puts: 0, bytes: 0 });
    const finds = await timed(async () => {
      for (let find = 0; find < FINDS; find += 1) {
        const index = Math.floor((find * count) / FINDS);
        if ((await findInTree(blocks, root, keyAt(index, count))) === null) throw new Error("A key was not found");
      }
    });
    const readsPerFind = blocks.reads / FINDS;
    for (let round = 0; round < BATCHES; round += 1) ({ root } = await editTree(blocks, root, batch(round), blocks));
    return {
      buildMs: built.ms,
      scanMs: scan.ms,
      findMs: finds.ms / FINDS,
      readsPerFind,
      putsPerChange: blocks.puts / (BATCHES * BATCH_KEYS),
      bytesPerChange: blocks.bytes / (BATCHES * BATCH_KEYS),
      startMB,
      peakMB: peakMemoryMB(),
    };
  } finally {
    blocks.close();
    await rm(dir, { recursive: true, force: true });
  }
}

async function measureMap(count: number): Promise<z.infer<typeof mapSchema>> {
  const startMB = peakMemoryMB();
  const map = new Map<string, EntryRef>();
  const built = await timed(async () => {
    for await (const { key, ref } of items(count)) map.set(key, ref);
  });
  const scan = await timed(async () => {
    const keys = [...map.keys()].toSorted(compareKeys);
    if (keys.length !== count) throw new Error("The map has other keys");
  });
  return { buildMs: built.ms, scanMs: scan.ms, startMB, peakMB: peakMemoryMB() };
}

async function inChild(what: "tree" | "map", count: number): Promise<unknown> {
  const args = ["--max-old-space-size=4096", import.meta.filename, what, String(count)];
  return JSON.parse((await run(process.execPath, args)).stdout);
}

/** @param limit null where nothing is promised */
function holds(name: string, value: number, limit: number | null, digits: number): void {
  const isFine = limit === null || value <= limit;
  const bound = limit === null ? "" : `   at most ${limit}${isFine ? "" : "   TOO MUCH"}`;
  console.log(`  ${name.padEnd(38)} ${value.toFixed(digits).padStart(9)}${bound}`);
  if (!isFine) process.exitCode = 1;
}

/** The tree of a large bucket: what building, scanning and editing take, against a map in memory; `--full`: ten million keys. */
export async function bench(): Promise<void> {
  const sizes = process.argv.includes("--full") ? [1_000_000, 10_000_000] : [1_000_000];
  const map = mapSchema.parse(await inChild("map", 1_000_000));
  for (const count of sizes) {
    const tree = treeSchema.parse(await inChild("tree", count));
    const isMillion = count === 1_000_000;
    const perKey = (ms: number): string => ((ms * 1_000) / count).toFixed(1);
    console.log(`${count} keys`);
    console.log(`  build, a key${"µs".padStart(30)} ${perKey(tree.buildMs).padStart(6)}`);
    console.log(`  scan, a key${"µs".padStart(31)} ${perKey(tree.scanMs).padStart(6)}`);
    console.log(`  find, cold${"ms".padStart(32)} ${tree.findMs.toFixed(2).padStart(6)}`);
    holds("blocks read for a cold key", tree.readsPerFind, 5, 2);
    holds(`nodes put a change, ${BATCH_KEYS} at once`, tree.putsPerChange, isMillion ? PUTS_MAX : null, 2);
    holds(`bytes put a change, ${BATCH_KEYS} at once`, tree.bytesPerChange, isMillion ? BYTES_MAX : null, 0);
    holds("peak memory above the start, MB", tree.peakMB - tree.startMB, GROWTH_MB_MAX, 0);
    const [ours, theirs] = [tree.peakMB - tree.startMB, map.peakMB - map.startMB];
    console.log(`  a map of 1000000 keys takes ${theirs.toFixed(0)} MB: ${(ours / theirs).toFixed(2)} × that\n`);
  }
}

if (import.meta.main) {
  const [what = "", count = ""] = process.argv.slice(2);
  const result = what === "tree" ? await measureTree(Number(count)) : await measureMap(Number(count));
  process.stdout.write(JSON.stringify(result));
}
