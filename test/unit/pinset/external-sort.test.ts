import { existsSync, readdirSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type KeyedLine, sortLines, type SortOptions } from "../../../src/lib/pinset/external-sort.ts";
import { property } from "../../support/property.ts";
import { tempDir } from "../../support/temp-dir.ts";

async function* from(lines: readonly KeyedLine[]): AsyncGenerator<KeyedLine> {
  yield* lines;
}

async function sorted(lines: readonly KeyedLine[], options: SortOptions): Promise<KeyedLine[]> {
  const result: KeyedLine[] = [];
  for await (const batch of sortLines(from(lines), options)) result.push(...batch);
  return result;
}

const keyedLine = fc.record({
  key: fc.string({ unit: fc.constantFrom("a", "B", "c", "0", "~", "!"), maxLength: 4 }),
  line: fc.string({ unit: fc.constantFrom("x", "é", "\u{1f600}", '"'), maxLength: 20 }),
});

const byText = (a: KeyedLine, b: KeyedLine): number => {
  const [left, right] = [`${a.key}\t${a.line}`, `${b.key}\t${b.line}`];
  return left < right ? -1 : left > right ? 1 : 0;
};

describe("sorting more lines than fit into memory", () => {
  test("gives what sorting in memory gives, whatever the size of runs and the number merged at once", async () => {
    const dir = tempDir();
    await fc.assert(
      fc.asyncProperty(
        fc.array(keyedLine, { maxLength: 80 }),
        fc.integer({ min: 1, max: 300 }),
        fc.integer({ min: 2, max: 5 }),
        async (lines, runBytesMax, fanIn) => {
          expect(await sorted(lines, { dir, runBytesMax, fanIn })).toEqual(lines.toSorted(byText));
          expect(readdirSync(dir)).toEqual([]);
        },
      ),
      property(100),
    );
  });

  test("lines longer than what a run is read by come out whole", async () => {
    const lines = Array.from({ length: 20 }, (_, index) => ({
      key: `k${20 - index}`,
      line: "é".repeat(200_000 + index),
    }));
    const result = await sorted(lines, { dir: tempDir(), runBytesMax: 500_000 });
    expect(result).toEqual(lines.toSorted(byText));
  });

  test("keeps no file when the source breaks off", async () => {
    const dir = tempDir();
    const broken = async function* (): AsyncGenerator<KeyedLine> {
      for (let index = 0; index < 100; index += 1) yield { key: String(index), line: "x" };
      throw new Error("gone");
    };
    const reading = (async () => {
      for await (const _ of sortLines(broken(), { dir, runBytesMax: 10 }));
    })();
    await expect(reading).rejects.toThrow("gone");
    expect(readdirSync(dir)).toEqual([]);
  });

  test("keeps no file when its reader stops early", async () => {
    const dir = tempDir();
    const lines = Array.from({ length: 5_000 }, (_, index) => ({ key: String(index), line: "x" }));
    for await (const _ of sortLines(from(lines), { dir, runBytesMax: 100 })) break;
    expect(readdirSync(dir)).toEqual([]);
    expect(existsSync(dir)).toBe(true);
  });

  test("stops when it is told to", async () => {
    const controller = new AbortController();
    const endless = async function* (): AsyncGenerator<KeyedLine> {
      for (let index = 0; ; index += 1) {
        if (index === 1_000) controller.abort(new Error("enough"));
        yield { key: String(index), line: "x" };
      }
    };
    const dir = tempDir();
    const reading = (async () => {
      for await (const _ of sortLines(endless(), { dir, runBytesMax: 1_000, signal: controller.signal }));
    })();
    await expect(reading).rejects.toThrow("enough");
    expect(readdirSync(dir)).toEqual([]);
  });
});
