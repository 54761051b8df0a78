import * as dagCbor from "@ipld/dag-cbor";
import { CID } from "multiformats/cid";
import { describe, expect, test } from "vitest";
import { createCid } from "../../../../src/lib/blocks/cid.ts";
import { isFulaError } from "../../../../src/lib/kernel/errors.ts";
import { encodeLogBlock, type LogBlock, type NamedLogBlock } from "../../../../src/lib/buckets/tree/log-block.ts";
import type { LogChain } from "../../../../src/lib/buckets/tree/log-chain.ts";
import type { NodeReader } from "../../../../src/lib/buckets/tree/node-store.ts";
import type { ObjectEntry } from "../../../../src/lib/buckets/tree/object-entry.ts";
import { openBucketIndex } from "../../../../src/lib/buckets/tree/open-index.ts";
import { contentCid, CountingBlocks, entryOf, plainEntry } from "../../../support/index-blocks.ts";
import { fleetEntry, hashedKey, OwnIndex } from "../../../support/index-flushes.ts";

/** What a client could ask: all keys with their entries, and each key by itself. */
async function readAll(
  root: CID,
  reader: NodeReader,
  keys: readonly string[],
): Promise<ReadonlyMap<string, ObjectEntry>> {
  const entries = new Map<string, ObjectEntry>();
  const index = await openBucketIndex(root, reader);
  for await (const { key, ref } of index.scan()) entries.set(key, await index.readEntry(key, ref));
  for (const key of keys) {
    const alone = await openBucketIndex(root, reader);
    expect(plainEntry((await alone.find(key))?.entry)).toEqual(plainEntry(entries.get(key)));
  }
  return entries;
}

/** An index of a base and a log, with what is in it. */
async function makeIndex(): Promise<{ index: OwnIndex; keys: readonly string[] }> {
  const index = await OwnIndex.holding(0, 30);
  const keys = Array.from({ length: 30 + 14 }, (_none, n) => hashedKey(n));
  for (const [n, key] of keys.entries()) await index.flush(key, fleetEntry(n));
  return { index, keys };
}

describe("an index of which one block", () => {
  test("has a byte changed, or is another of its blocks, or is gone, answers with an error or rightly", async () => {
    const { index, keys } = await makeIndex();
    const whole = await readAll(index.index.root, index.blocks, keys);
    expect([...whole.keys()].toSorted()).toEqual(keys.toSorted());
    const asked = keys.filter((_key, n) => n % 9 === 0);
    const names = [...index.blocks.blocks.keys()];
    let errors = 0;
    for (const [at, name] of names.entries()) {
      const bytes = index.blocks.blocks.get(name);
      if (bytes === undefined) throw new Error("a block is gone that nobody took");
      const flipped = Uint8Array.from(bytes);
      const position = (at * 7_919) % bytes.byteLength;
      flipped[position] = (flipped[position] ?? 0) ^ 0x10;
      const other = index.blocks.blocks.get(names[(at + 1) % names.length] ?? "");
      for (const damaged of [flipped, other, undefined]) {
        if (damaged === undefined) index.blocks.blocks.delete(name);
        else index.blocks.blocks.set(name, damaged);
        try {
          // Blocks that the root does not need any more may be what they like.
          expect(plainAll(await readAll(index.index.root, index.blocks, asked))).toEqual(plainAll(whole));
        } catch (error) {
          expect(isFulaError(error) && ["FULA_INDEX_CORRUPT", "FULA_BLOCK_MISSING"].includes(error.code)).toBe(true);
          errors += 1;
        }
        index.blocks.blocks.set(name, bytes);
      }
    }
    // Left over and needed no more: the empty tree, and no block of the log, since all hold live entries.
    expect(errors).toBe((names.length - 1) * 3);
  });
});

describe("a root that is no index", () => {
  test.each<[string, Uint8Array]>([
    ["an empty block", new Uint8Array()],
    ["another document", dagCbor.encode({ level: 0, pointers: [] })],
    ["no CBOR", Buffer.from("an image")],
  ])("but %s is an error when it is opened", async (_what, bytes) => {
    const blocks = new CountingBlocks();
    const cid = createCid(dagCbor.code, bytes);
    await blocks.put({ cid, bytes });
    await expect(openBucketIndex(cid, blocks)).rejects.toMatchObject({ code: "FULA_INDEX_CORRUPT" });
  });
});

function plainAll(entries: ReadonlyMap<string, ObjectEntry>): unknown {
  return [...entries].map(([key, entry]) => [key, plainEntry(entry)]);
}

/** A log whose last block but some is another one, with all hashes set right again. */
async function forge(
  chain: LogChain,
  at: number,
  change: (block: LogBlock, before: readonly NamedLogBlock[]) => LogBlock,
  blocks: CountingBlocks,
): Promise<CID> {
  const forged = chain.blocks.slice(0, at);
  for (const { block } of chain.blocks.slice(at)) {
    const link = forged.at(-1)?.cid ?? chain.base;
    const relinked = { ...block, link };
    const made = block.ordinal === at + 1 ? change(relinked, forged) : relinked;
    const encoded = encodeLogBlock(made);
    await blocks.put(encoded);
    forged.push({ cid: encoded.cid, block: made, sizeBytes: encoded.bytes.byteLength });
  }
  return forged.at(-1)?.cid ?? chain.base;
}

describe("a log that somebody wrote with right hashes", () => {
  async function chainOf(): Promise<{ chain: LogChain; blocks: CountingBlocks }> {
    const index = await OwnIndex.holding(0);
    for (let n = 0; n < 14; n += 1) await index.flush(hashedKey(n), entryOf(n));
    return { chain: await index.index.log(), blocks: index.blocks };
  }

  test.each<[string, number, (block: LogBlock, before: readonly NamedLogBlock[]) => LogBlock, RegExp]>([
    ["skips a block", 9, (block, before) => ({ ...block, link: before.at(-2)?.cid ?? block.link }), /stands at/],
    ["counts wrongly", 9, (block) => ({ ...block, total: block.total + 1 }), /counts/],
    ["has a directory with foreign fingerprints", 11, withOtherPrints, /directory/],
    [
      "has a directory that leads elsewhere",
      11,
      (block, before) => withUp(block, before[3]?.cid),
      /stands at|no directory|directory/,
    ],
  ])("and that %s is an error", async (_what, at, change, why) => {
    const { chain, blocks } = await chainOf();
    const root = await forge(chain, at, change, blocks);
    const index = await openBucketIndex(root, blocks);
    await expect(index.log()).rejects.toThrow(why);
    await expect(index.scan().next()).rejects.toThrow(why);
    await expect(index.append([{ key: "k", entry: null }])).rejects.toThrow(why);
  });

  test("and whose ref names a block without that entry, or another object's, is an error", async () => {
    const { chain, blocks } = await chainOf();
    const index = await openBucketIndex(chain.blocks.at(-1)?.cid ?? chain.base, blocks);
    const found = await index.findRef(hashedKey(3));
    if (found === null) throw new Error("the key is gone");
    await expect(index.readEntry("somebody", found)).rejects.toThrow(/no entry of "somebody"/);
    const other = { ...found, content: contentCid("other") };
    await expect(index.readEntry(hashedKey(3), other)).rejects.toThrow(/another object/);
    expect(plainEntry(await index.readEntry(hashedKey(3), found))).toEqual(plainEntry(entryOf(3)));
  });
});

function withOtherPrints(block: LogBlock): LogBlock {
  if (block.directory === null) throw new Error("no directory");
  const prints = block.directory.prints.map((print) => Uint8Array.from(print, (byte) => byte ^ 1));
  return { ...block, directory: { ...block.directory, prints } };
}

function withUp(block: LogBlock, up: CID | undefined): LogBlock {
  if (block.directory === null || up === undefined) throw new Error("no directory");
  return { ...block, directory: { ...block.directory, inner: block.directory.inner.map(() => up), up } };
}
