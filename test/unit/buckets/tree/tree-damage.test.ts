import type { CID } from "multiformats/cid";
import { describe, expect, test } from "vitest";
import { createCid } from "../../../../src/lib/blocks/cid.ts";
import { buildTree } from "../../../../src/lib/buckets/tree/build-tree.ts";
import { compareKeys } from "../../../../src/lib/buckets/tree/key.ts";
import { type ChildRef, decodeNode, encodeNode, type TreeItem } from "../../../../src/lib/buckets/tree/node.ts";
import type { NodeReader } from "../../../../src/lib/buckets/tree/node-store.ts";
import { findInTree, scanTree } from "../../../../src/lib/buckets/tree/scan-tree.ts";
import { isFulaError } from "../../../../src/lib/kernel/errors.ts";
import { collect, refOf, shown, TreeBox } from "../../../support/tree-box.ts";

const KEYS = Array.from({ length: 70 }, (_, index) => `letters/${index * 13}/ä`).toSorted(compareKeys);
const LISTED = KEYS.map((key) => shown({ key, ref: refOf(key) }));

async function built(): Promise<{ readonly box: TreeBox; readonly root: CID }> {
  const box = new TreeBox();
  const { root } = await buildTree(
    KEYS.map((key) => ({ key, ref: refOf(key) })),
    box,
  );
  return { box, root };
}

/** What a scan gives until it ends: all of it, or an error of a damaged index and nothing wrong before it. */
async function outcome(reader: NodeReader, root: CID): Promise<"right" | "error" | "wrong"> {
  const got: string[] = [];
  try {
    for await (const item of scanTree(reader, root)) got.push(shown(item));
  } catch (error) {
    if (!isFulaError(error, "FULA_INDEX_CORRUPT")) throw error;
    return got.every((text, index) => text === LISTED[index]) ? "error" : "wrong";
  }
  return got.length === LISTED.length && got.every((text, index) => text === LISTED[index]) ? "right" : "wrong";
}

/** A reader that gives other bytes for one node. */
function lying(box: TreeBox, cid: CID, bytes: Uint8Array): NodeReader {
  return { get: async (asked) => (asked.equals(cid) ? bytes : box.get(asked)) };
}

describe("a node that is not what its place says", () => {
  test("is an error, whichever single byte of whichever node has changed", async () => {
    const { box, root } = await built();
    expect(box.blocks.size).toBeGreaterThanOrEqual(4);
    for (const { cid, bytes } of box.blocks.values()) {
      for (let at = 0; at < bytes.byteLength; at += 1) {
        const changed = Uint8Array.from(bytes);
        changed[at] = (changed[at] ?? 0) ^ (1 << (at % 8));
        expect(await outcome(lying(box, cid, changed), root), `byte ${at} of ${cid.toString()}`).toBe("error");
      }
    }
  });

  test("is an error where one node stands for another", async () => {
    const { box, root } = await built();
    const blocks = [...box.blocks.values()];
    for (const { cid } of blocks) {
      for (const { bytes } of blocks.filter((other) => !other.cid.equals(cid))) {
        expect(await outcome(lying(box, cid, bytes), root)).toBe("error");
      }
    }
  });

  test("is an error where its parent was written to name another one", async () => {
    const { box, root } = await built();
    const node = decodeNode(await box.get(root));
    if (node.kind !== "inner") throw new Error("The root is a leaf");
    for (const [index, child] of node.items.entries()) {
      for (const other of node.items.filter((one) => one !== child)) {
        const items = node.items.with(index, { ...child, link: other.link });
        const { block } = encodeNode(node.level, items);
        await box.put(block);
        expect(await outcome(box, block.cid)).toBe("error");
      }
    }
  });

  test("is found by whoever looks for one key in it", async () => {
    const { box, root } = await built();
    const node = decodeNode(await box.get(root));
    if (node.kind !== "inner") throw new Error("The root is a leaf");
    const [first, second] = node.items;
    if (first === undefined || second === undefined) throw new Error("The root has one child");
    const { block } = encodeNode(1, [{ ...first, link: second.link }, ...node.items.slice(1)]);
    await box.put(block);
    await expect(findInTree(box, block.cid, KEYS[0] ?? "")).rejects.toMatchObject({
      code: "FULA_INDEX_CORRUPT",
      message: expect.stringContaining(`Node ${second.link.toString()} of a bucket's tree (level 0, from "" on)`),
    });
    expect(await findInTree(box, block.cid, KEYS.at(-1) ?? "")).not.toBeNull();
  });
});

/** A root of these bytes, which hash to it. */
async function rejection(bytes: Uint8Array): Promise<string> {
  const box = new TreeBox();
  const cid = createCid(0x71, bytes);
  await box.put({ cid, bytes });
  return collect(scanTree(box, cid)).then(
    () => "taken",
    (error: unknown) => (isFulaError(error, "FULA_INDEX_CORRUPT") ? error.message : "another error"),
  );
}

describe("a node that somebody wrote in another way", () => {
  const key = (text: string): TreeItem => ({ key: text, ref: refOf(text) });
  const child: ChildRef = { key: "", link: createCid(0x71, Uint8Array.of(0x80)), keys: 3, bytes: 9n };

  test.each([
    ["keys out of order", 0, [key("b"), key("a")], "its keys are not in order"],
    ["a key twice", 0, [key("a"), key("a")], "its keys are not in order"],
    ["an empty key", 0, [key("")], "a key cannot be: it is empty"],
    ["a key of 1,025 bytes", 0, [key("k".repeat(1_025))], "a key cannot be: it has 1025 bytes"],
    ["an inner node without children", 1, [], "it is an inner node without children"],
    ["a level beyond all trees", 32, [child], "its level cannot be"],
    ["a child without keys", 1, [{ ...child, keys: 0 }], "the number of keys of a child is no positive number"],
    ["a negative sum of sizes", 1, [{ ...child, bytes: -1n }], "a sum of sizes is out of range"],
    ["a child that is no node", 1, [{ ...child, link: refOf("a").content }], "a child is no link to a node"],
    ["a leaf's item in an inner node", 1, [key("a")], "a child has 7 values"],
    ["a child in a leaf", 0, [{ ...child, key: "a" }], "a ref has 3 values"],
    [
      "an entry by another codec",
      0,
      [{ key: "a", ref: { ...refOf("a"), entry: child.link } }],
      "another codec than raw",
    ],
  ] as const)("is an error: %s", async (_, level, items, why) => {
    expect(await rejection(encodeNode(level, items).block.bytes)).toContain(why);
  });

  test.each([
    ["no CBOR", "ff"],
    ["a tail", "83010080ff"],
    ["a longer number than needed", "8318010080"],
    ["an array of another length", "820100"],
    ["another format", "83020080"],
    ["a map", "a0"],
    ["an indefinite array", "9f010080ff"],
    ["a fraction for the level", "8301fb000000000000000080"],
    ["a level below zero", "83012080"],
    ["no list of items", "83010000"],
    ["an item that is no list", "8301008100"],
  ])("is an error: %s", async (_, hex) => {
    expect(await rejection(Buffer.from(hex, "hex"))).toMatch(
      /^Node bafy\w+ of a bucket's tree \(the root\) is damaged: /,
    );
  });

  test("is an error where a key does not say all that it shares with the one before", async () => {
    const { bytes } = encodeNode(0, [key("same/a"), key("same/b")]).block;
    const hex = Buffer.from(bytes).toString("hex");
    // 05 "b" becomes 00 "same/b", 04 "/b".
    const row = "056162";
    expect(hex).toContain(row);
    for (const [count, rest] of [
      ["00", "same/b"],
      ["04", "/b"],
    ] as const) {
      const other = `${count}${(0x60 + rest.length).toString(16)}${Buffer.from(rest).toString("hex")}`;
      expect(await rejection(Buffer.from(hex.replace(row, other), "hex"))).toContain("it is not in canonical form");
    }
  });
});
