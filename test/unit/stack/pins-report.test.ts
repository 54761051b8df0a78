import { expect, test } from "vitest";
import { judgePinQueue } from "../../../src/lib/stack/pins-report.ts";

const WELL = { waiting: 3, claimed: 1, failing: 1, oldestSeconds: 90_000, overdueSeconds: 1, dead: 0 };

test("a queue on which contents have waited for long is well, as long as workers get to them", () => {
  expect(judgePinQueue(WELL)).toEqual([]);
});

test("a queue that nobody works on is bad, and worse than contents that were given up", () => {
  expect(judgePinQueue({ ...WELL, overdueSeconds: 301, dead: 1 })).toMatchObject([
    { severity: "bad", message: "Nobody works on the pin queue: a content has been due for 5m 1s." },
    { severity: "attention", message: "1 content that users asked for was given up." },
  ]);
});
