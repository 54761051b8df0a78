import { beforeAll, describe, expect, test } from "vitest";
import { COMPACT_AFTER, costOfFlushes, hashedKey, OwnIndex } from "../../../support/index-flushes.ts";

/** What a key in a tree of some levels, and its entry, may take to be found when nothing is in memory. */
const COLD_READS_MAX = 20;

describe("150 files, one flush each", () => {
  test("cost at most 160 PUTs and 0.20 MB with their compaction, and the last one at most 2 PUTs and 2 KB", async () => {
    const index = await OwnIndex.holding(0);
    const first = await costOfFlushes(index, 0, 149);
    const last = await costOfFlushes(index, 149, 150);
    expect(last.puts).toBeLessThanOrEqual(2);
    expect(last.bytes).toBeLessThanOrEqual(2_000);
    expect(first.puts + last.puts).toBeLessThanOrEqual(160);
    expect(first.bytes + last.bytes).toBeLessThanOrEqual(200_000);
    // Nobody has to compact less to get there: the log was worked in, and what came after lies over it.
    expect(index.index.logBlocks).toBe(150 - COMPACT_AFTER);
  });
});

describe("a flush into 10,000 random keys", () => {
  const FIRST = 10_000_000;
  const FLUSHES = COMPACT_AFTER * 3;
  let index: OwnIndex;

  beforeAll(async () => {
    index = await OwnIndex.holding(10_000);
  });

  test("costs at most 3.3 PUTs and 8 KB on average, compaction counted", async () => {
    const { puts, bytes } = await costOfFlushes(index, FIRST, FIRST + FLUSHES);
    expect(index.index.logBlocks).toBe(0);
    expect(puts / FLUSHES).toBeLessThanOrEqual(3.3);
    expect(bytes / FLUSHES).toBeLessThanOrEqual(8_000);
  });

  test("leaves every key at most 20 block reads away from one who knows the root alone, however long the log is", async () => {
    for (let length = 1; length < COMPACT_AFTER; length += 1) {
      const newest = FIRST + FLUSHES + length - 1;
      await costOfFlushes(index, newest, newest + 1);
      if (length % 13 !== 0 && length !== COMPACT_AFTER - 1) continue;
      const inLog = Array.from({ length }, (_none, back) => newest - back);
      const inBase = Array.from({ length: 20 }, (_none, n) => n * 500);
      for (const n of [...inLog, ...inBase, -1]) {
        expect([length, n, (await index.coldReads(hashedKey(n))) <= COLD_READS_MAX]).toEqual([length, n, true]);
      }
    }
  });
});
