import { expect, test } from "vitest";
import { findGo, isNewEnough } from "../../infra/go.ts";

test.each([
  ["1.26.8", true],
  ["1.26.9", true],
  ["1.27.0", true],
  ["1.27", true],
  ["2.0.0", true],
  ["1.26.7", false],
  ["1.26", false],
  ["1.19.8", false],
  ["1.27rc1", false],
  ["devel go1.28-3a4b5c", false],
])("Go %s builds what asks for 1.26.8: %s", (have, expected) => {
  expect(isNewEnough(have, "1.26.8")).toBe(expected);
});

test("a Go that nobody has and no checksum is known of is told with what to install", async () => {
  const missing = findGo("99.1.2", () => {});
  await expect(missing).rejects.toThrow(/no checksum of Go 99\.1\.2 for \S+ is known here/);
  await expect(missing).rejects.toThrow(/Try: install Go 99\.1\.2 or newer/);
});
