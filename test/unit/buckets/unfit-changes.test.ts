import { describe, expect, test } from "vitest";
import { createCid, RAW_CODEC } from "../../../src/lib/blocks/cid.ts";
import type { Mutation } from "../../../src/lib/buckets/buckets.ts";
import type { ObjectEntry } from "../../../src/lib/buckets/tree/object-entry.ts";
import { testBuckets } from "../../support/buckets.ts";
import { entryOf } from "../../support/index-blocks.ts";
import { MemoryBlocks } from "../../support/memory-blocks.ts";

const OWNER = { ownerId: "0".repeat(32), userId: "user" };
const NAME = { ownerId: OWNER.ownerId, bucket: "b" };
const CONTENT = Buffer.from("content");

function put(key: string, changes: Partial<ObjectEntry> = {}): Mutation {
  const content = createCid(RAW_CODEC, CONTENT);
  return { key, condition: null, change: { kind: "put", entry: entryOf(1, { content, ...changes }) } };
}

describe("of several writes that share a flush", () => {
  test.each<[string, Mutation, string]>([
    ["an entry is too large", put("large", { metadata: { x: "x".repeat(70_000) } }), "FULA_ENTRY_TOO_LARGE"],
    ["a text cannot be given back", put("half", { metadata: { x: "\ud800" } }), "FULA_ENTRY_TEXT"],
    ["a key is too long", put("k".repeat(1_025)), "FULA_INDEX_KEY"],
  ])("one of which %s, that one fails and the others do not", async (_what, unfit, code) => {
    const blocks = new MemoryBlocks();
    await blocks.put(createCid(RAW_CODEC, CONTENT), CONTENT);
    const buckets = testBuckets({ blocks });
    await buckets.create(OWNER, "b");
    const writes = [put("a"), unfit, put("c")].map(async (mutation) => await buckets.write(NAME, [mutation]));
    const [first, second, third] = await Promise.allSettled(writes);
    expect([first?.status, third?.status]).toEqual(["fulfilled", "fulfilled"]);
    expect(second).toMatchObject({ status: "rejected", reason: { code } });
    const opened = await buckets.open(NAME);
    expect(opened?.state.objectCount).toBe(2n);
    expect(await opened?.index.findRef("a")).not.toBeNull();
    expect(await opened?.index.findRef("c")).not.toBeNull();
  });
});
