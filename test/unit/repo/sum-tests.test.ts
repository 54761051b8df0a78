import { describe, expect, test } from "vitest";
import { failuresOf, sumReport } from "../../../scripts/sum-tests.ts";

function report(files: readonly (readonly [string, readonly string[]])[], success = true): string {
  return JSON.stringify({
    success,
    testResults: files.map(([status, tests]) => ({
      name: "a.test.ts",
      status,
      message: "no such module",
      assertionResults: tests.map((each, index) => ({
        status: each,
        fullName: `test ${index}`,
        failureMessages: each === "failed" ? [`Error: ${"why ".repeat(200)}`] : [],
      })),
    })),
  });
}

describe("the sum of a test run", () => {
  test("counts every test by what became of it", () => {
    const json = report([
      ["passed", ["passed", "passed", "skipped"]],
      ["failed", ["failed", "passed", "todo", "pending"]],
    ]);
    expect(sumReport(json)).toEqual({ passed: 3, failed: 1, skipped: 3 });
  });

  test("a file that failed before its first test counts as one failure", () => {
    expect(sumReport(report([["failed", []]]))).toEqual({ passed: 0, failed: 1, skipped: 0 });
    expect(sumReport(report([["failed", ["passed", "skipped"]]]))).toEqual({ passed: 1, failed: 1, skipped: 1 });
  });

  test("a run whose set-up failed before any file counts as one failure", () => {
    expect(sumReport(report([], false))).toEqual({ passed: 0, failed: 1, skipped: 0 });
    expect(sumReport(report([["failed", ["failed"]]], false))).toEqual({ passed: 0, failed: 1, skipped: 0 });
  });

  test("what failed is named, with the beginning of why and no more", () => {
    const failures = failuresOf(
      report([
        ["failed", ["passed", "failed"]],
        ["failed", []],
        ["passed", ["passed"]],
      ]),
    );
    expect(failures).toHaveLength(2);
    expect(failures[0]).toMatch(/^a\.test\.ts > test 1\n {2}Error: why why/u);
    expect(failures[0]?.length).toBeLessThan(450);
    expect(failures[1]).toBe("a.test.ts > before its first test\n  no such module");
  });

  test("what is no report is an error, not a zero", () => {
    expect(() => sumReport('{"success":true,"numPassedTests":12}')).toThrow("testResults");
    expect(() => sumReport('{"testResults":[')).toThrow("JSON");
  });
});
