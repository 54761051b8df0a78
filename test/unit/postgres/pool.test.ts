import { expect, test } from "vitest";
import { applicationName } from "../../../src/lib/postgres/pool.ts";

test.each([
  ["serve", "fula-1", "fula-master/serve@fula-1"],
  ["migrate", "knoten-ü", "fula-master/migrate@knoten-?"],
  ["serve", "x".repeat(80), `fula-master/serve@${"x".repeat(45)}`],
])("%s on %s shows in pg_stat_activity as %s, within the 63 bytes that the server keeps", (part, node, expected) => {
  expect(applicationName(part, node)).toBe(expected);
});
