/**
 * Sums vitest's JSON reports, given as arguments, to one line: `12 passed, 0 failed, 1 skipped`. Exits 1 where a test
 * failed, or where there is nothing to sum: a run that executed no test has proved nothing.
 */
import { readFile } from "node:fs/promises";
import { z } from "zod";

const reportSchema = z.object({
  success: z.boolean(),
  testResults: z.array(
    z.object({
      status: z.string(),
      assertionResults: z.array(z.object({ status: z.string() })),
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

if (import.meta.main) {
  const sums = await Promise.all(process.argv.slice(2).map(async (file) => sumReport(await readFile(file, "utf8"))));
  const total = sums.reduce(
    (sum, each) => ({
      passed: sum.passed + each.passed,
      failed: sum.failed + each.failed,
      skipped: sum.skipped + each.skipped,
    }),
    { passed: 0, failed: 0, skipped: 0 },
  );
  const skipped = total.skipped === 0 ? "" : `, ${total.skipped} skipped`;
  console.log(`${total.passed} passed, ${total.failed} failed${skipped}`);
  if (total.failed > 0 || total.passed === 0) process.exitCode = 1;
}
