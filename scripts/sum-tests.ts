/**
 * Sums vitest's JSON reports, given as arguments, to one line: `12 passed, 0 failed, 1 skipped`, after a short list of
 * the tests that failed, each with the beginning of why. Exits 1 where a test failed, or where there is nothing to sum:
 * a run that executed no test has proved nothing.
 */
import { readFile } from "node:fs/promises";
import { relative } from "node:path";
import { z } from "zod";

const reportSchema = z.object({
  success: z.boolean(),
  testResults: z.array(
    z.object({
      name: z.string(),
      status: z.string(),
      message: z.string().optional(),
      assertionResults: z.array(
        z.object({ status: z.string(), fullName: z.string(), failureMessages: z.array(z.string()).nullish() }),
      ),
    }),
  ),
});

interface Sum {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

/** Counts the tests of one report. A file, or a whole run, that failed before its first test counts as one failed test. */
export function sumReport(json: string): Sum {
  const { success, testResults: files } = reportSchema.parse(JSON.parse(json));
  const statuses = files.flatMap(({ assertionResults }) => assertionResults.map(({ status }) => status));
  const broken = files.filter(
    ({ status, assertionResults }) => status === "failed" && !assertionResults.some((each) => each.status === "failed"),
  );
  const passed = statuses.filter((status) => status === "passed").length;
  const failed = statuses.filter((status) => status === "failed").length;
  const counted = failed + broken.length;
  return { passed, failed: counted === 0 && !success ? 1 : counted, skipped: statuses.length - passed - failed };
}

/** As much of a failure as tells its kind; the whole of it stands where the test ran. */
const TOLD_CHARACTERS = 400;

/** The tests of one report that failed, `file > test: why`, each on lines of its own. */
export function failuresOf(json: string): string[] {
  return reportSchema.parse(JSON.parse(json)).testResults.flatMap(({ name, status, message, assertionResults }) => {
    const failed = assertionResults.filter((each) => each.status === "failed");
    const reasons = failed.map((each) => [each.fullName, each.failureMessages?.[0]] as const);
    if (status === "failed" && failed.length === 0) reasons.push(["before its first test", message]);
    return reasons.map(
      ([test, why]) => `${relative("", name)} > ${test}\n  ${(why ?? "without a word").slice(0, TOLD_CHARACTERS)}`,
    );
  });
}

if (import.meta.main) {
  const reports = await Promise.all(process.argv.slice(2).map(async (file) => await readFile(file, "utf8")));
  const sums = reports.map(sumReport);
  const total = sums.reduce(
    (sum, each) => ({
      passed: sum.passed + each.passed,
      failed: sum.failed + each.failed,
      skipped: sum.skipped + each.skipped,
    }),
    { passed: 0, failed: 0, skipped: 0 },
  );
  const failures = reports.flatMap(failuresOf);
  if (failures.length > 0) console.log(failures.join("\n"));
  const skipped = total.skipped === 0 ? "" : `, ${total.skipped} skipped`;
  console.log(`${total.passed} passed, ${total.failed} failed${skipped}`);
  if (total.failed > 0 || total.passed === 0) process.exitCode = 1;
}
