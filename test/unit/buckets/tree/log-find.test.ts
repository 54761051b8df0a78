import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { appendToChain, rootOf } from "../../../../src/lib/buckets/tree/log-append.ts";
import type { LogChange } from "../../../../src/lib/buckets/tree/log-block.ts";
import { emptyChain, type LogChain, LogReader } from "../../../../src/lib/buckets/tree/log-chain.ts";
import { printOf } from "../../../../src/lib/buckets/tree/log-directory.ts";
import { LogFinder } from "../../../../src/lib/buckets/tree/log-find.ts";
import { loadChain } from "../../../../src/lib/buckets/tree/log-load.ts";
import { emptyIndexBlock } from "../../../../src/lib/buckets/tree/open-index.ts";
import { CountingBlocks, entryOf } from "../../../support/index-blocks.ts";
import { property } from "../../../support/property.ts";

const BASE = emptyIndexBlock().cid;

async function logOf(flushes: readonly (readonly string[])[], blocks: CountingBlocks): Promise<LogChain> {
  let chain = emptyChain(BASE);
  for (const [flush, keys] of flushes.entries()) {
    const changes = new Map<string, LogChange>(
      keys.map((key) => [key, { kind: "put", entry: entryOf(`${flush} ${key}`) }]),
    );
    const appended = appendToChain(chain, changes);
    await blocks.putAll(appended.blocks);
    chain = appended.chain;
  }
  return chain;
}

async function find(chain: LogChain, key: string, blocks: CountingBlocks): Promise<string | null> {
  const read = new LogReader(blocks);
  const head = await read.read(rootOf(chain), chain.blocks.length);
  const answer = await new LogFinder(read, key).find(head);
  if (answer.kind === "base") {
    expect(answer.base.equals(BASE)).toBe(true);
    return null;
  }
  return answer.logged.block.toString();
}

function singleKeys(count: number): readonly (readonly string[])[] {
  return Array.from({ length: count }, (_none, n) => [`key ${n}`]);
}

/** Two keys with the same fingerprint: of some thousands, two always have. */
function twins(): readonly [string, string] {
  const seen = new Map<string, string>();
  for (let n = 0; ; n += 1) {
    const key = `twin ${n}`;
    const print = Buffer.from(printOf(key)).toString("hex");
    const other = seen.get(print);
    if (other !== undefined) return [other, key];
    seen.set(print, key);
  }
}

describe("a key in a log of which the head is known", () => {
  test("is found in the newest block that names it, or in none, however long the log is", async () => {
    const anyKey = fc.constantFrom("a", "b", "c", "d", "e", "f", "g", "h");
    const anyFlush = fc.uniqueArray(anyKey, { minLength: 1, maxLength: 2 });
    await fc.assert(
      fc.asyncProperty(fc.array(anyFlush, { minLength: 1, maxLength: 120 }), async (flushes) => {
        const blocks = new CountingBlocks();
        const chain = await logOf(flushes, blocks);
        for (const key of ["a", "b", "c", "d", "e", "f", "g", "h", "i"]) {
          const newest = flushes.findLastIndex((keys) => keys.some((named) => named === key));
          expect(await find(chain, key, blocks)).toBe(chain.blocks[newest]?.cid.toString() ?? null);
        }
      }),
      property(40),
    );
  });

  test("takes 17 reads at most to be found in the longest log before a compaction, and 9 to be missed", async () => {
    const blocks = new CountingBlocks();
    const chain = await logOf(singleKeys(96), blocks);
    let foundMax = 0;
    let missedMax = 0;
    for (const length of [1, 5, 6, 7, 41, 47, 48, 71, 89, 90, 95, 96]) {
      const log = { ...chain, blocks: chain.blocks.slice(0, length) };
      for (let n = 0; n < length; n += 1) {
        blocks.forgetCounts();
        expect(await find(log, `key ${n}`, blocks)).toBe(chain.blocks[n]?.cid.toString());
        foundMax = Math.max(foundMax, blocks.reads);
      }
      blocks.forgetCounts();
      expect(await find(log, "missing", blocks)).toBeNull();
      missedMax = Math.max(missedMax, blocks.reads);
    }
    expect(foundMax).toBe(17);
    expect(missedMax).toBe(9);
  });

  test("is told from another one that has the same fingerprint", async () => {
    const [ours, theirs] = twins();
    const blocks = new CountingBlocks();
    // Their segment is gone through in vain for our key, both where ours is further back and where it is nowhere.
    const fill = (from: number): readonly (readonly string[])[] => singleKeys(12).map(([key]) => [`${from} ${key}`]);
    const chain = await logOf([[ours], ...fill(1), [theirs], ...fill(2)], blocks);
    expect(await find(chain, ours, blocks)).toBe(chain.blocks[0]?.cid.toString());
    expect(await find(chain, theirs, blocks)).toBe(chain.blocks[13]?.cid.toString());
    const alone = await logOf([...fill(1), [theirs], ...fill(2)], blocks);
    expect(await find(alone, ours, blocks)).toBeNull();
  });

  test("of a log that nobody works in is still found in a few more", async () => {
    const blocks = new CountingBlocks();
    const chain = await logOf(singleKeys(1_000), blocks);
    let most = 0;
    for (let n = 0; n < 1_000; n += 37) {
      blocks.forgetCounts();
      expect(await find(chain, `key ${n}`, blocks)).not.toBeNull();
      most = Math.max(most, blocks.reads);
    }
    expect(most).toBeLessThanOrEqual(30);
  });
});

describe("a log that is read wholly", () => {
  test("is the one that was written, each block of it read once, and all but the head in a few rounds", async () => {
    for (const length of [1, 5, 6, 7, 36, 37, 95, 200]) {
      const blocks = new CountingBlocks();
      const chain = await logOf(singleKeys(length), blocks);
      const read = new LogReader(blocks);
      const head = await read.read(rootOf(chain), length);
      const loaded = await loadChain(head, read);
      expect(blocks.reads).toBe(length);
      expect(loaded.blocks.map(({ cid }) => cid.toString())).toEqual(chain.blocks.map(({ cid }) => cid.toString()));
      expect([...loaded.changes.keys()]).toEqual([...chain.changes.keys()]);
      expect([loaded.base.toString(), loaded.sizeBytes]).toEqual([BASE.toString(), chain.sizeBytes]);
    }
  });

  test("reads nothing of what an older root of it had", async () => {
    const blocks = new CountingBlocks();
    const chain = await logOf(singleKeys(50), blocks);
    const older = { ...chain, blocks: chain.blocks.slice(0, 47) };
    const read = new LogReader(blocks, older.blocks);
    const head = await read.read(rootOf(chain), 50);
    expect((await loadChain(head, read)).blocks).toHaveLength(50);
    expect(blocks.reads).toBe(3);
  });
});
