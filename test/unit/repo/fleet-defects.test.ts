import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";

const ROOT = join(import.meta.dirname, "..", "..", "..");
const ROW = /^\| .+ \| `(test\/[^`]+)`: (.+) \|$/;

function namedTests(): readonly (readonly [file: string, title: string])[] {
  return readFileSync(join(ROOT, "docs/fleet-defects.md"), "utf8")
    .split("\n")
    .flatMap((line) => {
      const [, file, title] = ROW.exec(line) ?? [];
      return file === undefined || title === undefined ? [] : [[file, title] as const];
    });
}

test("every row of docs/fleet-defects.md names a test", () => {
  const rows = readFileSync(join(ROOT, "docs/fleet-defects.md"), "utf8")
    .split("\n")
    .filter((line) => line.startsWith("| ") && !line.startsWith("| ---") && !line.startsWith("| what went wrong"));
  expect(rows.length).toBeGreaterThan(20);
  expect(namedTests().length).toBe(rows.length);
});

test.each(namedTests())("%s still has the test that docs/fleet-defects.md names: %s", (file, title) => {
  // A long call is broken before its title.
  const source = readFileSync(join(ROOT, file), "utf8").replaceAll(/\(\s+"/g, '("');
  expect(source).toContain(`("${title}"`);
});
