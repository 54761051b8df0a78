import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { mayLetGo } from "../../../src/lib/ingest/block-keeper.ts";
import { openHoldBook } from "../../../src/lib/ingest/hold-book.ts";
import { OpenCounts, StoreSlots } from "../../../src/lib/ingest/limits.ts";
import { TurnByKey } from "../../../src/lib/ingest/turn-by-key.ts";
import { tempDir } from "../../support/temp-dir.ts";

describe("a hold", () => {
  test.each([
    ["nobody pins it, and its lease goes on", "unpinned", 1, false],
    ["nobody pins it, and its lease is over", "unpinned", 0, true],
    ["the node's own peer has pinned it", "pinned", 1, true],
    ["the node's own peer is about to", "pinning", -1, false],
    ["the node's own peer could not, and tries again", "pin_error", -1, false],
    ["other peers are to fetch it from here", "remote", -1, false],
    ["other peers have had a day to fetch it", "remote", -86_400_000, true],
  ])("%s", (_, standing, leftMs, expected) => {
    expect(mayLetGo(standing, leftMs)).toBe(expected);
  });
});

describe("the book of holds", () => {
  test("keeps the later end of two, knows what is due, and forgets nothing when it is opened again", () => {
    const path = join(tempDir(), "holds.sqlite");
    {
      using book = openHoldBook(path);
      book.note({ cid: "a", untilMs: 5_000 });
      book.note({ cid: "a", untilMs: 3_000 });
      book.note({ cid: "b", untilMs: 9_000 });
      book.postpone("b", 2_000);
      expect(book.due(1_999, 10)).toEqual([{ cid: "a", untilMs: 5_000 }]);
    }
    using book = openHoldBook(path);
    expect(book.due(2_000, 10).map(({ cid }) => cid)).toEqual(["a", "b"]);
    expect([book.untilOf("a"), book.untilOf("c"), book.count()]).toEqual([5_000, null, 2]);
    book.end("a");
    expect(book.count()).toBe(1);
  });
});

describe("limits", () => {
  test("each key may have so many open, and one more when one of them has ended", () => {
    const counts = new OpenCounts(2);
    const first = counts.enter("a");
    expect([counts.enter("a") === null, counts.enter("a") === null, counts.enter("b") === null]).toEqual([
      false,
      true,
      false,
    ]);
    first?.[Symbol.dispose]();
    expect(counts.enter("a")).not.toBeNull();
  });

  test("a few whole blocks wait for the store, and the rest is sent away", async () => {
    const slots = new StoreSlots(1);
    const { promise, resolve } = Promise.withResolvers<void>();
    const inside = Array.from({ length: 5 }, async () => await slots.run(async () => await promise));
    await expect(slots.run(async () => {})).rejects.toMatchObject({ status: 503 });
    resolve();
    await Promise.all(inside);
    await slots.run(async () => {});
  });

  test("work on one key goes one after the other, and a failure holds nobody up", async () => {
    const turns = new TurnByKey();
    const seen: string[] = [];
    const work = async (name: string, fails = false): Promise<void> => {
      seen.push(`${name}<`);
      await Promise.resolve();
      seen.push(`${name}>`);
      if (fails) throw new Error(name);
    };
    const first = turns.run("k", async () => await work("a", true));
    const second = turns.run("k", async () => await work("b"));
    await expect(first).rejects.toThrow("a");
    await second;
    expect(seen).toEqual(["a<", "a>", "b<", "b>"]);
  });
});
