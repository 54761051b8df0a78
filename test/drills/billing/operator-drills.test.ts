import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { DrillRunReport } from "../../../src/lib/stack/drill-run.ts";
import { argumentsOf, listPids } from "../../../src/lib/runtime/processes.ts";
import { launch } from "../../support/launched.ts";
import { runCliForTest } from "../../support/cli.ts";
import { asSuperuser, testPostgres } from "../../support/postgres.ts";
import { makeServingBox, type ServingBox } from "../../support/serving.ts";
import { until } from "../../support/until.ts";

let box: ServingBox;

beforeAll(async () => {
  box = await makeServingBox();
});

afterAll(async () => {
  await box[Symbol.asyncDispose]();
});

async function drill(
  ...ids: readonly string[]
): Promise<{ readonly exitCode: number; readonly report: DrillRunReport }> {
  const { exitCode, stdout } = await runCliForTest(["drill", "run", ...ids, "--json"], { baseDir: box.baseDir });
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- what --json prints is what the type says
  return { exitCode, report: JSON.parse(stdout) as DrillRunReport };
}

function mastersBelow(dir: string): number {
  return listPids().filter((pid) => argumentsOf(pid).some((arg) => arg.startsWith(`${dir}/`))).length;
}

async function scratchDatabases(): Promise<readonly string[]> {
  const { rows } = await box.database.pool.query<{ name: string }>(
    "select datname as name from pg_database where datname like 'fula_drill_%'",
  );
  return rows.map(({ name }) => name);
}

test("D3 to D5 pass on a master with a ledger of its own, and leave nothing behind", async () => {
  const { exitCode, report } = await drill("D3", "D4", "D5");
  const bad = report.drills.flatMap(({ id, assertions }) =>
    assertions
      .filter(({ outcome }) => outcome !== "passed")
      .map(({ claim, evidence }) => `${id} ${claim}: ${evidence}`),
  );
  expect(bad).toEqual([]);
  expect(exitCode).toBe(0);
  expect(report).toMatchObject({ ok: true, passed: 11, failed: 0, notRun: 0, leftBehind: [] });
  expect(await scratchDatabases()).toEqual([]);
  expect(mastersBelow(box.baseDir)).toBe(0);
  expect(await readdir(join(box.baseDir, "state/drills"))).toEqual([]);
  const { rows } = await box.database.pool.query("select from credit_history");
  expect(rows).toEqual([]);
});

test("a drill of billing that is killed leaves masters and a database, which the next run ends and drops", async () => {
  const killed = launch(["drill", "run", "D3", "--base-dir", box.baseDir]);
  await until("a master of the drill runs", async () => mastersBelow(join(box.baseDir, "state/drills")) > 0);
  killed.kill();
  await killed.ended;
  expect(await scratchDatabases()).toHaveLength(1);
  const { exitCode, report } = await drill("D2");
  expect([exitCode, report.leftBehind]).toEqual([0, []]);
  expect(await scratchDatabases()).toEqual([]);
  expect(mastersBelow(box.baseDir)).toBe(0);
});

test("where the role may not create databases they are not run, and say what would let them", async () => {
  const { owner } = testPostgres();
  await asSuperuser(`alter role ${owner.user} nocreatedb`);
  try {
    const { exitCode, report } = await drill("D5");
    expect(exitCode).toBe(1);
    expect(report.drills[0]).toMatchObject({
      outcome: "not-run",
      because: expect.stringContaining(`alter role ${owner.user} createdb;`),
    });
  } finally {
    await asSuperuser(`alter role ${owner.user} createdb`);
  }
});
