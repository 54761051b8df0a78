import fc from "fast-check";
import { expect, test } from "vitest";
import { prefixEnd } from "../../../src/lib/gateway/object-table.ts";
import { property } from "../../support/property.ts";

function compareBytes(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a, "utf8"), Buffer.from(b, "utf8"));
}

test.each([
  ["a", "b"],
  ["a/", "a0"],
  ["\u007f", "\u0080"],
  ["\ud7ff", "\ue000"],
  ["a\u{10ffff}", "b"],
  ["", null],
  ["\u{10ffff}", null],
])("what comes after every key that begins with %j is %j", (prefix, end) => {
  expect(prefixEnd(prefix)).toBe(end);
});

test("a key begins with the prefix exactly when it lies between the prefix and its end, by UTF-8 bytes", () => {
  const text = fc.string({
    unit: fc.constantFrom("a", "b", "/", "\u007f", "ä", "\ud7ff", "\ue000", "\uffff", "😀", "\u{10ffff}"),
    maxLength: 5,
  });
  fc.assert(
    fc.property(text, text, (prefix, key) => {
      const end = prefixEnd(prefix);
      const between = compareBytes(key, prefix) >= 0 && (end === null || compareBytes(key, end) < 0);
      expect(between).toBe(key.startsWith(prefix));
    }),
    property(2_000),
  );
});
