import { describe, expect, test } from "vitest";
import { committedOf } from "../../../src/lib/recovery/postgres/primary-look.ts";
import { fileOfSegment, oldestKept } from "../../../src/lib/recovery/postgres/wal-inventory.ts";
import { commonStretches } from "../../../src/lib/recovery/postgres/wal-match.ts";
import { endOfStretch, stretchAt, stretchesTo } from "../../../src/lib/recovery/timeline-history.ts";

const MB = 1024 * 1024;
const FORK = BigInt(3 * MB + 500);
const HISTORY = [
  { timeline: 1, beganAtLsn: 0n },
  { timeline: 2, beganAtLsn: FORK },
] as const;

function names(...files: readonly string[]): ReadonlySet<string> {
  return new Set(files.map((file) => file.replace(":", "00000000000000")));
}

describe("the history of a timeline", () => {
  test("is read from its file, and unknown without it", () => {
    const text = "1\t0/30001F4\tno recovery target specified\n\n3\t0/5000000\tbefore 2026-11-20\n";
    expect(stretchesTo(4, new Map([[4, text]]))).toEqual([
      { timeline: 1, beganAtLsn: 0n },
      { timeline: 3, beganAtLsn: 0x30001f4n },
      { timeline: 4, beganAtLsn: 0x5000000n },
    ]);
    expect(stretchesTo(1, new Map())).toEqual([{ timeline: 1, beganAtLsn: 0n }]);
    expect(stretchesTo(2, new Map([[4, text]]))).toBeNull();
  });

  test("has a position at which a timeline begins still on the one before", () => {
    expect(stretchAt(HISTORY, FORK)?.timeline).toBe(1);
    expect(stretchAt(HISTORY, FORK + 1n)?.timeline).toBe(2);
    expect(endOfStretch(HISTORY, 1)).toBe(FORK);
    expect(endOfStretch(HISTORY, 2)).toBeNull();
  });

  test("is common to two servers as far as timelines and their beginnings are", () => {
    const other = [HISTORY[0], { timeline: 2, beganAtLsn: FORK + 8n }];
    expect(commonStretches(HISTORY, other)).toEqual([HISTORY[0]]);
    expect(commonStretches(HISTORY, [...HISTORY, { timeline: 3, beganAtLsn: FORK + 8n }])).toEqual(HISTORY);
  });
});

describe("what WAL a server has", () => {
  test("is looked for under the timeline that begins in a segment", () => {
    expect(fileOfSegment(HISTORY, 2n, MB)).toBe("000000010000000000000002");
    expect(fileOfSegment(HISTORY, 3n, MB)).toBe("000000020000000000000003");
  });

  test("reaches back to the first segment that is missing", () => {
    const files = names("00000001:01", "00000001:02", "00000002:03", "00000002:04");
    expect(oldestKept(files, HISTORY, BigInt(4 * MB + 9), MB)).toBe(BigInt(MB));
    // The segment of the fork, under its old name, is not what a server would send.
    expect(oldestKept(names("00000001:03", "00000002:04"), HISTORY, BigInt(4 * MB + 9), MB)).toBe(BigInt(4 * MB));
  });

  test("does not reach beyond the head, whatever old segments are called", () => {
    const files = names("00000002:03", "00000002:05", "00000002:06");
    expect(oldestKept(files, HISTORY, BigInt(3 * MB + 900), MB)).toBe(BigInt(3 * MB));
    expect(oldestKept(files, HISTORY, BigInt(4 * MB), MB)).toBe(BigInt(3 * MB));
    expect(oldestKept(files, HISTORY, BigInt(4 * MB + 1), MB)).toBe(BigInt(4 * MB + 1));
  });
});

describe("what is committed", () => {
  test("is what the needed number of standbys has, and everything where none is needed or too few have answered", () => {
    expect(committedOf([70n, 90n, 80n], 2, 100n)).toBe(80n);
    expect(committedOf([70n], 1, 100n)).toBe(70n);
    expect(committedOf([70n], 2, 100n)).toBe(100n);
    expect(committedOf([], 1, 100n)).toBe(100n);
    expect(committedOf([70n], 0, 100n)).toBe(100n);
    expect(committedOf([120n], 1, 100n)).toBe(100n);
  });
});
