import { expect, test } from "vitest";
import { runCliForTest } from "../../support/cli.ts";
import { tempDir } from "../../support/temp-dir.ts";

const ALONE = "FULA_LEDGER_ALONE";

test.each<[readonly string[]]>([
  [["failover"]],
  [["failover", "--fence", "--yes"]],
  [["failover", "status"]],
  [["failover", "abort", "--yes"]],
  [["switchover", "--to", "fula-2", "--dry-run"]],
  [["switchover", "--to", "fula-2", "--yes"]],
])("%s is refused on a box that is alone, with the way out", async (argv) => {
  const { exitCode, stdout, stderr } = await runCliForTest(argv, { baseDir: tempDir() });
  expect({ exitCode, stdout }).toEqual({ exitCode: 3, stdout: "" });
  expect(stderr).toContain(ALONE);
  expect(stderr).toContain("fula-master membership migrate-to-kv");
});

test("a plan and its execution are not asked for at once", async () => {
  const { exitCode, stderr } = await runCliForTest(["failover", "--plan", "--fence"], { baseDir: tempDir() });
  expect(exitCode).toBe(2);
  expect(stderr).toContain("--plan shows what would be done and --fence does it");
});

test("with --json an error is JSON, too", async () => {
  const { exitCode, stderr } = await runCliForTest(["failover", "status", "--json"], { baseDir: tempDir() });
  expect(exitCode).toBe(3);
  expect(JSON.parse(stderr)).toMatchObject({ error: { code: ALONE } });
});
