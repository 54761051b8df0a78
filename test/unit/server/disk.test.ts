import { expect, test } from "vitest";
import { judgeDisk } from "../../../src/lib/server/health-checks.ts";

const MIB = 1024 * 1024;

test.each([
  [10_000 * MIB, "ok"],
  [2_048 * MIB, "ok"],
  [2_048 * MIB - 1, "degraded"],
  [256 * MIB, "degraded"],
  [256 * MIB - 1, "failed"],
  [0, "failed"],
])("%i free bytes are %s", (freeBytes, state) => {
  expect(judgeDisk({ path: "/data", freeBytes, totalBytes: 100_000 * MIB }).state).toBe(state);
});
