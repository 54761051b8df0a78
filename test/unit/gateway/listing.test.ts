import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { createCid, RAW_CODEC } from "../../../src/lib/blocks/cid.ts";
import type { ScanRange } from "../../../src/lib/buckets/tree/bucket-index.ts";
import type { KeyRef } from "../../../src/lib/buckets/tree/object-entry.ts";
import { type Page, type PageRequest, type Position, prefixEnd, readPage } from "../../../src/lib/gateway/listing.ts";
import { property } from "../../support/property.ts";

const CONTENT = createCid(RAW_CODEC, Buffer.from("content"));

function byBytes(one: string, other: string): number {
  return Buffer.compare(Buffer.from(one), Buffer.from(other));
}

/** A bucket's keys, and how many of them were looked at. */
class Keys {
  readonly #keys: readonly string[];
  looked = 0;

  constructor(keys: readonly string[]) {
    this.#keys = [...new Set(keys)].toSorted(byBytes);
  }

  readonly scan = async function* (this: Keys, range: ScanRange): AsyncGenerator<KeyRef> {
    const { prefix = "", after, inclusive = false } = range;
    for (const key of this.#keys) {
      if (!key.startsWith(prefix)) continue;
      const order = after === undefined ? 1 : byBytes(key, after);
      if (order < 0 || (order === 0 && !inclusive)) continue;
      this.looked += 1;
      yield { key, ref: { entry: CONTENT, content: CONTENT, sizeBytes: 7, modifiedMs: 0, etag: null } };
    }
  }.bind(this);
}

async function allPages(keys: Keys, request: Omit<PageRequest, "from">): Promise<readonly Page[]> {
  const pages: Page[] = [];
  let from: Position | null = null;
  do {
    const page: Page = await readPage(keys.scan, { ...request, from });
    pages.push(page);
    from = page.next;
  } while (from !== null);
  return pages;
}

/** What a listing must give, worked out in the plainest way. */
function expected(keys: readonly string[], prefix: string, delimiter: string): readonly string[] {
  const rolled = keys
    .filter((key) => key.startsWith(prefix))
    .map((key) => {
      const at = delimiter === "" ? -1 : key.indexOf(delimiter, prefix.length);
      return at === -1 ? `key ${key}` : `prefix ${key.slice(0, at + delimiter.length)}`;
    });
  return [...new Set(rolled)].toSorted();
}

const piece = fc.constantFrom("a", "b", "/", "//", "ä", "�", "😀", "\u{10ffff}", "\ud7ff", " ");
const text = fc.array(piece, { maxLength: 5 }).map((pieces) => pieces.join(""));

describe("a listing", () => {
  test("of any keys, prefix and delimiter gives each key or common prefix once, at every size of its pages", async () => {
    const cases = fc.record({
      keys: fc.array(text.filter((key) => key !== "")),
      prefix: fc.oneof(fc.constant(""), text),
      delimiter: fc.constantFrom("", "/", "//", "a", "a/", "😀"),
      maxKeys: fc.integer({ min: 1, max: 12 }),
    });
    await fc.assert(
      fc.asyncProperty(cases, async ({ keys, ...request }) => {
        const pages = await allPages(new Keys(keys), request);
        const seen = pages.flatMap(({ objects, prefixes }) => [
          ...objects.map(({ key }) => `key ${key}`),
          ...prefixes.map((prefix) => `prefix ${prefix}`),
        ]);
        expect(seen.toSorted()).toEqual(expected(keys, request.prefix, request.delimiter));
        for (const { objects, prefixes, next } of pages) {
          const size = objects.length + prefixes.length;
          expect(next === null ? size <= request.maxKeys : size === request.maxKeys).toBe(true);
        }
      }),
      property(500),
    );
  });

  test("looks at few keys of a large common prefix", async () => {
    const keys = new Keys(["a", ...Array.from({ length: 10_000 }, (_, index) => `b/${index}`), "c"]);
    const page = await readPage(keys.scan, { prefix: "", delimiter: "/", maxKeys: 10, from: null });
    expect([page.objects.map(({ key }) => key), page.prefixes, page.next]).toEqual([["a", "c"], ["b/"], null]);
    expect(keys.looked).toBeLessThan(40);
  });

  test("that ends in a large common prefix ends there, without another page of nothing", async () => {
    const keys = new Keys(Array.from({ length: 1_000 }, (_, index) => `b/${index}`));
    expect(await readPage(keys.scan, { prefix: "", delimiter: "/", maxKeys: 1, from: null })).toEqual({
      objects: [],
      prefixes: ["b/"],
      next: null,
    });
  });

  test("of no keys at all reads nothing", async () => {
    const keys = new Keys(["a"]);
    const page = await readPage(keys.scan, { prefix: "", delimiter: "", maxKeys: 0, from: null });
    expect([page, keys.looked]).toEqual([{ objects: [], prefixes: [], next: null }, 0]);
  });
});

describe("the end of a prefix", () => {
  test.each([
    ["a", "b"],
    ["a/", "a0"],
    ["ab", "ac"],
    ["\ud7ff", "\ue000"],
    ["\u{10ffff}", null],
    ["a\u{10ffff}", "b"],
    ["", null],
  ])("%j is %j", (prefix, end) => {
    expect(prefixEnd(prefix)).toBe(end);
  });
});
