import { expect, test } from "vitest";
import { lastDueTimes } from "../../../src/lib/stack/due-times.ts";

function local(text: string): number {
  return new Date(text).getTime();
}

test.each([
  ["*/30 * * * *", "2026-11-20T10:05:00", ["2026-11-20T10:00:00", "2026-11-20T09:30:00"]],
  ["0 */6 * * *", "2026-11-20T06:00:00", ["2026-11-20T00:00:00", "2026-11-19T18:00:00"]],
  ["0 */6 * * *", "2026-11-20T06:00:01", ["2026-11-20T06:00:00", "2026-11-20T00:00:00"]],
  ["15 3 1 * *", "2026-11-20T10:05:00", ["2026-11-01T03:15:00", "2026-10-01T03:15:00"]],
  ["0 12 * * sun", "2026-11-20T10:05:00", ["2026-11-15T12:00:00", "2026-11-08T12:00:00"]],
  // Both day fields restricted: a day that matches either.
  ["0 0 1 * sun", "2026-11-03T00:00:00", ["2026-11-01T00:00:00", "2026-10-25T00:00:00"]],
  ["0 0 29 2 *", "2026-11-20T10:05:00", []],
])("%s was last due before %s at %j", (schedule, before, expected) => {
  expect(lastDueTimes(schedule, local(before), 2)).toEqual(expected.map(local));
});
