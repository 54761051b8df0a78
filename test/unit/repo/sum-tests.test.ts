import { describe, expect, test } from "vitest";
import { sumReport } from "../../../scripts/sum-tests.ts";

function report(files: readonly (readonly [string, readonly string[]])[], success = true): string {
  return JSON.stringify({
    success,
    testResults: files.map(([status, tests]) => ({
      status,
      assertionResults: tests.map((each) => ({ status: each })),
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

  test("what is no report is an error, not a zero", () => {
    expect(() => sumReport('{"success":true,"numPassedTests":12}')).toThrow("testResults");
    expect(() => sumReport('{"testResults":[')).toThrow("JSON");
  });
});
