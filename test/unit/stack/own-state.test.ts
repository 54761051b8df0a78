import { expect, test } from "vitest";
import { renderConninfo } from "../../../src/lib/recovery/postgres/primary-link.ts";
import { followsBy } from "../../../src/lib/stack/own-state.ts";

const address = "10.0.0.5:5432";
const written = (host: string, port: string): string =>
  renderConninfo({ user: "fula_two", host, port, sslmode: "verify-full" });

test.each([
  ["what fula-master writes", written("10.0.0.5", "5432"), address, "primary"],
  ["a host in brackets", written("fd00::5", "5432"), "[fd00::5]:5432", "primary"],
  ["what a person writes", "host=10.0.0.5 port=5432 user=x", address, "primary"],
  ["another host", written("10.0.0.6", "5432"), address, "other"],
  ["another port", written("10.0.0.5", "5433"), address, "other"],
  ["a host that only begins so", written("10.0.0.55", "5432"), address, "other"],
  ["another keyword that ends so", "xhost=10.0.0.5 port=5432", address, "other"],
  ["a primary that nobody reaches", written("10.0.0.5", "5432"), null, "other"],
  ["nothing", "", address, "nobody"],
] as const)("a standby's settings: %s", (_what, conninfo, where, follows) => {
  expect(followsBy(conninfo, { address: where })).toBe(follows);
});
