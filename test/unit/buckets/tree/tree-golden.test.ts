import { describe, expect, test } from "vitest";
import { CID } from "multiformats/cid";
import { buildTree, EMPTY_TREE } from "../../../../src/lib/buckets/tree/build-tree.ts";
import { compareKeys } from "../../../../src/lib/buckets/tree/key.ts";
import { encodeNode } from "../../../../src/lib/buckets/tree/node.ts";
import type { EntryRef } from "../../../../src/lib/buckets/tree/object-entry.ts";
import { refOf, TreeBox } from "../../../support/tree-box.ts";

// These texts are the format: trees of other versions have them too. A change that fails here needs a new format number.

async function rootOfKeys(keys: readonly string[]): Promise<string> {
  const items = keys.toSorted(compareKeys).map((key, index) => ({ key, ref: refOf(key, index % 5) }));
  return (await buildTree(items, new TreeBox())).root.toString();
}

describe("the format of a tree", () => {
  test("of no keys is four bytes", () => {
    expect(Buffer.from(EMPTY_TREE.bytes).toString("hex")).toBe("83010080");
    expect(EMPTY_TREE.cid.toString()).toBe("bafyreigdwq5lgsvk7tmvg7ubimbxwbdsvrzhznm65wvj4dic5uy2mbsdom");
  });

  test("of two keys is this leaf, byte by byte", () => {
    const entry = CID.parse("bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku");
    const ref: EntryRef = { entry, content: entry, sizeBytes: 300, modifiedMs: 1_764_000_000_000, etag: null };
    const items = [
      { key: "a/1", ref },
      { key: "a/é", ref: { ...ref, etag: "0cc1-2" } },
    ];
    const link = "d82a58250001551220e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    const row = `${link}${link}19012c1b0000019ab697e800`;
    const bytes = Buffer.from(encodeNode(0, items).block.bytes).toString("hex");
    expect(bytes).toBe(`83010082870063612f31${row}f6870262c3a9${row}66306363312d32`);
  });

  test.each([
    [
      "1,000 keys as photos have them",
      Array.from({ length: 1_000 }, (_, n) => `IMG_${10_000 + n}.jpg`),
      "bafyreif2uqfds34pkh3p2vns5aftohjx7lmcup2fi3ilegpqsajhg3jqcy",
    ],
    [
      "5,000 keys as hashes are",
      Array.from({ length: 5_000 }, (_, n) => refOf(`k${n}`).entry.toString()),
      "bafyreicgmwrlrda5tykwr4s6iajyobihalq4xwewsicxunpwprmcrv2lsy",
    ],
    [
      "400 long keys",
      Array.from({ length: 400 }, (_, n) => `${"deep/".repeat(190)}${n}`),
      "bafyreiazra3zc3aknyl5wswg22r2rs3fpptilkod6wjr7cpfm67hkxsxxq",
    ],
    [
      "600 keys of many scripts",
      Array.from(
        { length: 600 },
        (_, n) => `${String.fromCodePoint(n % 2 === 0 ? 0x3_00 + n * 73 : 0xe0_00 + n * 211)}/😀${n}`,
      ),
      "bafyreiedbuwyrab2l4lljzvqu72b5oeghxfwo37seepqjbr52qxovrnjc4",
    ],
  ])("of %s has this root", async (_, keys, root) => {
    expect(await rootOfKeys(keys)).toBe(root);
  });
});
