import { expect, test } from "vitest";
import { unsettledBy } from "../../../src/lib/recovery/postgres/leftovers.ts";
import { MARKED_WORK, MARKER_PHASES, parseMarker } from "../../../src/lib/recovery/postgres/marker.ts";

test.for(MARKED_WORK.flatMap((kind) => MARKER_PHASES.map((phase) => ({ kind, phase }))))(
  "a marker of $kind in phase $phase is read as it was written",
  ({ kind, phase }) => {
    const marker = { session: "42", kind, phase, startedAt: "2026-11-20T03:00:00Z" };
    expect(parseMarker(JSON.stringify(marker))).toEqual(marker);
  },
);

test.for(["", "{", "{}", '{"session":"42"}', '{"session":"42","kind":"rewind","phase":"done","startedAt":"x"}'])(
  "a marker that reads %j counts as the worst: something was written",
  (text) => {
    expect(parseMarker(text)).toMatchObject({ session: "0", phase: "write" });
  },
);

test("what the next run puts right before it decides is told from what it cannot", () => {
  const marker = { session: "7", startedAt: "2026-11-20T03:00:00Z" };
  expect(unsettledBy(null)).toBeNull();
  expect(unsettledBy({ ...marker, kind: "truncate", phase: "scan" })).toBeNull();
  expect(unsettledBy({ ...marker, kind: "truncate", phase: "write" })).toBe("truncation");
  expect(unsettledBy({ ...marker, kind: "rewind", phase: "write" })).toBeNull();
  expect(unsettledBy({ ...marker, kind: "full_base", phase: "swap" })).toBe("exchange");
});
