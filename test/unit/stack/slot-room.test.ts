import { expect, test } from "vitest";
import { slotConcern } from "../../../src/lib/stack/slot-room.ts";

const GB = 1_000_000_000;

test("a slot is told of from half of what it may keep on, and from half of what its disk has room for", () => {
  expect(slotConcern("two", { keptBytes: 4 * GB, safeBytes: 6 * GB, freeBytes: 50 * GB })).toBeNull();
  expect(slotConcern("two", { keptBytes: 6 * GB, safeBytes: 4 * GB, freeBytes: 50 * GB })).toMatch(/copied anew$/);
  expect(slotConcern("two", { keptBytes: 6 * GB, safeBytes: 40 * GB, freeBytes: 5 * GB })).toMatch(/disk has .* free/);
  expect(slotConcern("two", { keptBytes: 6 * GB, safeBytes: null, freeBytes: 5 * GB })).toContain("standby remove two");
  expect(slotConcern("two", { keptBytes: 6 * GB, safeBytes: 40 * GB, freeBytes: null })).toBeNull();
  expect(slotConcern("two", { keptBytes: 6 * GB, safeBytes: null, freeBytes: null })).toBeNull();
});
