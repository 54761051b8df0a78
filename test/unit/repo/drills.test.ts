import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { DRILLS } from "../../../src/lib/stack/drill-catalog.ts";

const ROOT = join(import.meta.dirname, "..", "..", "..");
const DOCUMENT = readFileSync(join(ROOT, "docs/drills.md"), "utf8");
const SUITE = DOCUMENT.slice(DOCUMENT.indexOf("## The suite"));
const ROW = /^\| .+ \| `(test\/[^`]+)`: (.+) \|$/;

const rows = SUITE.split("\n").filter(
  (line) => line.startsWith("| ") && !line.startsWith("| ---") && !line.startsWith("| drill |"),
);
const namedTests = rows.flatMap((line) => {
  const [, file, title] = ROW.exec(line) ?? [];
  return file === undefined || title === undefined ? [] : [[file, title] as const];
});

test("every row of the suite in docs/drills.md names a test", () => {
  expect(rows.length).toBeGreaterThan(10);
  expect(namedTests.length).toBe(rows.length);
});

test.each(namedTests)("%s still has the test that docs/drills.md names: %s", (file, title) => {
  // A long call is broken before its title.
  const source = readFileSync(join(ROOT, file), "utf8").replaceAll(/\(\s+"/g, '("');
  expect(source).toContain(`("${title}"`);
});

test("docs/drills.md names every drill that an operator can run", () => {
  const ids = new Set(
    [...DOCUMENT.matchAll(/\bD(\d+)(?: – D(\d+))?\b/g)].flatMap(([, from, to]) => {
      const first = Number(from);
      return Array.from({ length: Number(to ?? from) - first + 1 }, (_, step) => `D${first + step}`);
    }),
  );
  expect([...ids].toSorted()).toEqual(DRILLS.map(({ id }) => id).toSorted());
});
