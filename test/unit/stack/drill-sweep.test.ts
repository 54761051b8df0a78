import { expect, test } from "vitest";
import { expectOneAlert } from "../../../src/lib/stack/drill-sweep.ts";

const MADE_MS = Date.parse("2026-11-21T03:00:10.400Z");

function line(cid: string, at: string, event = "under-replicated"): string {
  return `${JSON.stringify({ at, event, cid })}\n`;
}

const ours = line("ours", "2026-11-21T03:00:10Z");
const stale = line("ours", "2026-11-20T03:00:00Z");
const others = line("another", "2026-11-21T03:00:11Z") + line("another", "2026-11-20T03:00:00Z");

test("an alert of the second in which the pin was made is its own, whatever the log has about others", () => {
  expect(expectOneAlert(others + ours, "ours", MADE_MS)).toBe("under-replicated at 2026-11-21T03:00:10Z");
});

test.each([
  ["about another pin", others, "has 0 lines about ours"],
  ["about this pin from an earlier run", others + stale, "it is dated 2026-11-20T03:00:00Z, before the pin was made"],
  ["about this pin from an earlier run beside a new one", stale + ours, "has 2 lines about ours"],
  ["that says something else", line("ours", "2026-11-21T03:00:11Z", "cleared"), "the line says cleared"],
])("a line %s is never taken for the alert of this run", (_, log, said) => {
  expect(() => expectOneAlert(log, "ours", MADE_MS)).toThrow(said);
});
