import * as dagCbor from "@ipld/dag-cbor";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { createCid, RAW_CODEC } from "../../../../src/lib/blocks/cid.ts";
import {
  decodeLogBlock,
  encodeLogBlock,
  entryCidOf,
  isLogBlock,
  type LogBlock,
  logBlockCidOf,
} from "../../../../src/lib/buckets/tree/log-block.ts";
import type { ObjectEntry, Texts } from "../../../../src/lib/buckets/tree/object-entry.ts";
import { contentCid, entryOf } from "../../../support/index-blocks.ts";
import { property } from "../../../support/property.ts";

const BASE = createCid(dagCbor.code, Buffer.from("a base"));

function blockOf(changes: LogBlock["changes"], more: Partial<LogBlock> = {}): LogBlock {
  return { ordinal: 1, total: changes.size, link: BASE, changes, directory: null, ...more };
}

const anyText = fc.string({ unit: "binary", maxLength: 12 }).filter((text) => text.isWellFormed());
const anyTexts: fc.Arbitrary<Texts> = fc
  .array(fc.tuple(fc.oneof(anyText, fc.constantFrom("__proto__", "constructor")), anyText), { maxLength: 4 })
  .map((pairs) => Object.fromEntries(pairs));
const anyEntry: fc.Arbitrary<ObjectEntry> = fc.record({
  content: fc.nat().map(contentCid),
  sizeBytes: fc.maxSafeNat(),
  modifiedMs: fc.maxSafeNat(),
  etag: fc.option(anyText, { nil: null }),
  headers: anyTexts,
  metadata: anyTexts,
  checksums: anyTexts,
  tags: anyTexts,
  partSizes: fc.array(fc.constantFrom(5, 5, 5, 8_388_608, 2 ** 40), { maxLength: 8 }),
});

/** A block of these values, whatever they are. */
function forge(values: unknown): { readonly cid: ReturnType<typeof createCid>; readonly bytes: Uint8Array } {
  const bytes = dagCbor.encode(values);
  return { cid: createCid(dagCbor.code, bytes), bytes };
}

describe("a block of the log", () => {
  test("gives back every entry as it was", () => {
    fc.assert(
      fc.property(anyEntry, (entry) => {
        const block = blockOf(new Map([["k", { kind: "put" as const, entry }]]));
        const { cid, bytes } = encodeLogBlock(block);
        const change = decodeLogBlock(cid, bytes).block.changes.get("k");
        expect(change?.kind).toBe("put");
        if (change?.kind !== "put") return;
        expect({ ...change.entry, content: change.entry.content.toString() }).toEqual({
          ...entry,
          content: entry.content.toString(),
        });
        expect(Object.entries(change.entry.metadata)).toEqual(
          Object.entries(entry.metadata).toSorted(([a], [b]) => (a < b ? -1 : 1)),
        );
      }),
      property(200),
    );
  });

  test("has one form, which never changes by accident", () => {
    const entry = entryOf("golden", {
      modifiedMs: 1_790_000_000_000,
      sizeBytes: 4096,
      headers: { "content-type": "image/png" },
      metadata: { b: "2", a: "1" },
      partSizes: [5, 5, 3],
    });
    const ref = { entry: entryCidOf(BASE), content: contentCid(1), sizeBytes: 1, modifiedMs: 2, etag: "e-2" };
    const { cid, bytes } = encodeLogBlock(
      blockOf(
        new Map([
          ["a", { kind: "put", entry }],
          ["b", { kind: "delete" }],
          ["c", { kind: "refer", ref }],
        ]),
      ),
    );
    expect(isLogBlock(bytes)).toBe(true);
    expect(cid.toString()).toBe("bafyreiggafodbx7eexb5nd65jns26jizflpf5n3lmdnvfrmst243hxwifa");
    expect(dagCbor.decode(bytes)).toEqual([
      17,
      1,
      3,
      expect.anything(),
      ["a", expect.any(Array), "b", null, "c", expect.any(Array)],
    ]);
  });

  test("with any byte changed is an error", () => {
    const { cid, bytes } = encodeLogBlock(blockOf(new Map([["k", { kind: "put", entry: entryOf(1) }]])));
    for (let at = 0; at < bytes.byteLength; at += 1) {
      const changed = Uint8Array.from(bytes);
      changed[at] = (changed[at] ?? 0) ^ 1;
      expect(() => decodeLogBlock(cid, changed)).toThrow(/do not hash/);
    }
  });

  test.each<[string, unknown, RegExp]>([
    ["no list", {}, /five or six/],
    ["another format", [18, 1, 1, BASE, ["k", null]], /format/],
    ["no changes", [17, 1, 0, BASE, []], /number of changes/],
    ["an empty list of changes", [17, 1, 1, BASE, []], /no pairs/],
    ["a key without a change", [17, 1, 1, BASE, ["k"]], /no pairs/],
    ["an empty key", [17, 1, 1, BASE, ["", null]], /empty/],
    ["a key of 1,025 bytes", [17, 1, 1, BASE, ["k".repeat(1_025), null]], /1025 bytes/],
    ["keys in another order", [17, 1, 2, BASE, ["b", null, "a", null]], /not in order/],
    ["a key twice", [17, 1, 2, BASE, ["a", null, "a", null]], /not in order/],
    ["an order that is not that of bytes", [17, 1, 2, BASE, ["\u{10000}", null, "\uffff", null]], /not in order/],
    ["no block before", [17, 1, 1, null, ["k", null]], /no block before/],
    ["bytes before", [17, 1, 1, contentCid(1), ["k", null]], /no block before/],
    ["changes that were there before the first block", [17, 1, 2, BASE, ["k", null]], /number of changes/],
    ["fewer changes before than blocks", [17, 3, 2, BASE, ["k", null]], /number of changes/],
    ["a change of another shape", [17, 1, 1, BASE, ["k", [1, 2]]], /2 values/],
    ["an entry without content", [17, 1, 1, BASE, ["k", [null, 0, 0, null, [], [], [], [], []]]], /content/],
    ["a negative size", [17, 1, 1, BASE, ["k", [contentCid(1), -1, 0, null, [], [], [], [], []]]], /size/],
    ["a fraction of time", [17, 1, 1, BASE, ["k", [contentCid(1), 1, 0.5, null, [], [], [], [], []]]], /time/],
    [
      "names in another order",
      [17, 1, 1, BASE, ["k", [contentCid(1), 1, 0, null, ["b", "", "a", ""], [], [], [], []]]],
      /order/,
    ],
    [
      "runs of parts that could be one",
      [17, 1, 1, BASE, ["k", [contentCid(1), 1, 0, null, [], [], [], [], [5, 1, 5, 1]]]],
      /shortest/,
    ],
    ["a million parts", [17, 1, 1, BASE, ["k", [contentCid(1), 1, 0, null, [], [], [], [], [5, 1_000_000]]]], /10000/],
    ["a ref that leads into the log", [17, 1, 1, BASE, ["k", [BASE, contentCid(1), 1, 0, null]]], /raw/],
    ["a directory where none belongs", [17, 1, 1, BASE, ["k", null], [BASE, [], [new Uint8Array(3)]]], /directory/],
    ["no directory where one belongs", [17, 6, 6, BASE, ["k", null]], /directory/],
    [
      "a directory of another range",
      [17, 6, 6, BASE, ["k", null], [BASE, [], [new Uint8Array(9), new Uint8Array(9)]]],
      /range/,
    ],
    ["a directory with another's links", [17, 6, 6, BASE, ["k", null], [BASE, [BASE], [new Uint8Array(18)]]], /links/],
    ["cut fingerprints", [17, 6, 6, BASE, ["k", null], [BASE, [], [new Uint8Array(17)]]], /cut/],
    [
      "fingerprints of more keys than there are",
      [17, 6, 6, BASE, ["k", null], [BASE, [], [new Uint8Array(21)]]],
      /other keys/,
    ],
    ["one value more", [17, 1, 1, BASE, ["k", null], null, null], /five or six/],
  ])("with %s is an error, though its hash is right", (_what, values, why) => {
    const { cid, bytes } = forge(values);
    expect(() => decodeLogBlock(cid, bytes)).toThrow(why);
  });

  test("in another spelling of CBOR is an error", () => {
    const { bytes } = encodeLogBlock(blockOf(new Map([["k", { kind: "delete" }]])));
    // The first value, 17, written with a byte more than it needs.
    const longer = Uint8Array.from([bytes[0] ?? 0, 0x18, 17, ...bytes.subarray(2)]);
    expect(() => decodeLogBlock(createCid(dagCbor.code, longer), longer)).toThrow(/damaged/);
  });

  test("has one hash and two names, of which one leads no further", () => {
    const { cid } = encodeLogBlock(blockOf(new Map([["k", { kind: "delete" }]])));
    const entry = entryCidOf(cid);
    expect(entry.code).toBe(RAW_CODEC);
    expect(logBlockCidOf(entry).equals(cid)).toBe(true);
  });
});
