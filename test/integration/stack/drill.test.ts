import { appendFile, readdir, readFile, rename, rm, stat, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import type { DrillRunReport } from "../../../src/lib/stack/drill-run.ts";
import { withLedger } from "../../../src/lib/stack/ledger.ts";
import type { CliRun, CliTestOptions } from "../../support/cli.ts";
import { launch } from "../../support/launched.ts";
import { makeTestBox, readBoxFile, type TestBox } from "../../support/test-box.ts";
import { until } from "../../support/until.ts";

let box: TestBox;

// One master for all of them: each puts back what it breaks.
beforeAll(async () => {
  box = await makeTestBox();
  const joined = await box.run(box.joinArgs);
  expect(joined.stderr + joined.stdout).toContain("is a master");
});

afterAll(async () => {
  await box[Symbol.asyncDispose]();
});

interface Drilled extends CliRun {
  readonly report: DrillRunReport;
  /** `outcome claim` of each claim of one drill. */
  readonly claims: (id: string) => readonly string[];
}

async function drill(args: readonly string[], options: CliTestOptions = {}): Promise<Drilled> {
  const run = await box.run(["drill", "run", ...args, "--json"], options);
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- what --json prints is what the type says; the tests look at its fields
  const report = JSON.parse(run.stdout) as DrillRunReport;
  const claims = (id: string): readonly string[] =>
    report.drills.find((one) => one.id === id)?.assertions.map(({ outcome, claim }) => `${outcome} ${claim}`) ?? [];
  return { ...run, report, claims };
}

async function sql(text: string): Promise<readonly Record<string, unknown>[]> {
  return await withLedger(await box.load(), { clock: systemClock }, async (pool) => (await pool.query(text)).rows);
}

async function pinCount(): Promise<number> {
  const { stdout } = await box.run(["pin", "ls", "--json"]);
  return stdout.split("\n").filter((line) => line !== "").length;
}

/** Everything in the base directory that a drill may not change: names, and what the last snapshot and sweep said. */
async function traces(): Promise<unknown> {
  const names = await readdir(join(box.baseDir, "snapshots"));
  const blocks = await readdir(join(box.baseDir, "state/blocks"), { recursive: true, withFileTypes: true });
  const read = async (name: string): Promise<string | null> => await readBoxFile(box, name).catch(() => null);
  return {
    names,
    blocks: blocks.filter((entry) => entry.isFile() && entry.name.endsWith(".data")).length,
    memory: await read("state/snapshot-last.json"),
    sweep: await read("state/sweep-last.json"),
    alerts: await read("logs/alerts.jsonl"),
    drills: await readdir(join(box.baseDir, "state/drills")).catch(() => []),
    pins: await pinCount(),
    charges: await sql("select count(*) from credit_history"),
  };
}

test("a healthy master passes every drill but the one that needs a container, and nothing is left of them", async () => {
  const before = await traces();
  const { exitCode, report, claims } = await drill(["--dangerous"]);
  const failed = report.drills.flatMap(({ assertions }) => assertions.filter(({ outcome }) => outcome === "failed"));
  expect(failed).toEqual([]);
  expect(exitCode).toBe(0);
  expect(report).toMatchObject({ ok: true, failed: 0, notRun: 3, leftBehind: [] });
  expect(claims("D9").every((claim) => claim.startsWith("not-run"))).toBe(true);
  expect(await traces()).toEqual(before);
  // D3 to D5 start masters of their own.
}, 180_000);

test("a drill that cannot be carried out here is never a pass: named alone, it exits 1", async () => {
  const { exitCode, report } = await drill(["D9", "--dangerous"]);
  expect(exitCode).toBe(1);
  expect(report).toMatchObject({ ok: false, passed: 0, failed: 0, notRun: 3 });
});

test("D1 fails where serve is down and where the ledger is, each for its own claim", async () => {
  await box.run(["stop"]);
  const { exitCode, claims } = await drill(["D1"]);
  await box.run(["start"]);
  expect(exitCode).toBe(1);
  expect(claims("D1")).toEqual([
    "failed PostgreSQL answers a query, and its schema is current",
    "passed The block store gives back a block that it was just given",
    "passed The pinset can be counted, and every peer that belongs to it answers",
    "failed serve is ready: each of its own checks is ok",
  ]);
});

const INDEX = "idx_credit_history_hourly_dedup";
const HOURLY = "where tx_type = 'hourly_deduction'";
const EXISTS = `failed The index ${INDEX} is on credit_history`;
const VALID = "failed It is valid and in use";
const UNIQUE = "failed It is unique";
const SHAPE = "failed It covers (user_id, reference_id) of hourly deductions";
const REFUSES =
  "failed A second charge of a new user for one hour is refused by it (in a transaction that is rolled back)";

test.each([
  ["is gone", null, [EXISTS]],
  ["is not unique", `create index ${INDEX} on credit_history (user_id, reference_id) ${HOURLY}`, [UNIQUE, REFUSES]],
  [
    "covers other columns",
    `create unique index ${INDEX} on credit_history (user_email, reference_id) ${HOURLY}`,
    [SHAPE, REFUSES],
  ],
  [
    "covers other rows",
    `create unique index ${INDEX} on credit_history (user_id, reference_id) where tx_type = 'deposit'`,
    [SHAPE, REFUSES],
  ],
])("D2 fails where the index %s", async (_, create, failing) => {
  await sql(`drop index ${INDEX}`);
  if (create !== null) await sql(create);
  const { exitCode, claims } = await drill(["D2"]);
  await sql(`drop index if exists ${INDEX}`);
  await sql(`create unique index ${INDEX} on credit_history (user_id, reference_id) ${HOURLY}`);
  expect(exitCode).toBe(1);
  expect(claims("D2").filter((claim) => claim.startsWith("failed"))).toEqual(failing);
});

test("D10 fails where the ledger takes roots from any software, and goes on to its races", async () => {
  await sql("alter table bucket_roots disable trigger bucket_roots_foreign_refused");
  const { exitCode, claims } = await drill(["D10"]);
  await sql("alter table bucket_roots enable trigger bucket_roots_foreign_refused");
  expect(exitCode).toBe(1);
  expect(claims("D10").map((claim) => claim.split(" ", 1)[0])).toEqual([
    "failed",
    "passed",
    "passed",
    "passed",
    "passed",
  ]);
});

test("D2 fails where the index is INVALID, as an interrupted build leaves it", async () => {
  await sql(`drop index ${INDEX}`);
  const charge = `insert into credit_history (tx_type, amount_fula, balance_after, reference_id, user_id)
                  values ('hourly_deduction', -1, -1, 'hour:x', 'somebody')`;
  await sql(charge);
  await sql(charge);
  const build = `create unique index concurrently ${INDEX} on credit_history (user_id, reference_id) ${HOURLY}`;
  await expect(sql(build)).rejects.toThrow("could not create unique index");
  const { exitCode, claims } = await drill(["D2"]);
  await sql("delete from credit_history where user_id = 'somebody'");
  await sql(`drop index ${INDEX}`);
  await sql(build);
  expect(exitCode).toBe(1);
  expect(claims("D2")).toContain(VALID);
});

test("D6 fails where a byte of the newest snapshot was changed", async () => {
  const dir = join(box.baseDir, "snapshots");
  const newest = (await readdir(dir))
    .filter((name) => name.endsWith(".jsonl.zst"))
    .toSorted()
    .at(-1);
  const file = join(dir, newest ?? "");
  const { size } = await stat(file);
  await appendFile(file, "x");
  const { exitCode, claims } = await drill(["D6"]);
  await truncate(file, size);
  expect(exitCode).toBe(1);
  expect(claims("D6").filter((claim) => claim.startsWith("failed"))).toEqual([
    "failed The newest snapshot of this box verifies and is not too old",
  ]);
});

test("D7 passes by its own alert alone: what an earlier run wrote into the box's alert log is neither taken nor touched", async () => {
  const log = join(box.baseDir, "logs/alerts.jsonl");
  const had = await readFile(log, "utf8").catch(() => null);
  const stale = { at: "2026-11-20T03:00:00Z", event: "under-replicated", cid: "bafkreistale" };
  await appendFile(log, `${JSON.stringify(stale)}\n`);
  const planted = await readFile(log, "utf8");
  const { exitCode, claims } = await drill(["D7"]);
  expect(claims("D7").filter((claim) => !claim.startsWith("passed"))).toEqual([]);
  expect(exitCode).toBe(0);
  expect(await readFile(log, "utf8")).toBe(planted);
  await (had === null ? rm(log) : writeFile(log, had));
});

test("what a killed drill leaves is cleared away by the next one", async () => {
  const run = launch(["drill", "run", "D8", "--dangerous", "--base-dir", box.baseDir]);
  await until("a thousand pins begin to be there", async () => (await pinCount()) > 0);
  run.kill();
  expect((await run.ended).signal).toBe("SIGKILL");
  expect(await readdir(join(box.baseDir, "state/drills"))).toHaveLength(1);
  const { exitCode, report } = await drill(["D1"]);
  expect(exitCode).toBe(0);
  expect(report.leftBehind).toEqual([]);
  expect(await pinCount()).toBe(0);
  expect(await readdir(join(box.baseDir, "state/drills"))).toEqual([]);
});

test("an interrupted drill clears away what it made before it ends", async () => {
  const stop = new AbortController();
  const running = box.run(["drill", "run", "D8", "--dangerous"], { signal: stop.signal });
  await until("a thousand pins begin to be there", async () => (await pinCount()) > 0);
  stop.abort();
  expect((await running).exitCode).toBe(130);
  expect(await pinCount()).toBe(0);
  expect(await readdir(join(box.baseDir, "state/drills"))).toEqual([]);
});

test("pins that cannot be removed are named, and the run is not good", async () => {
  const run = launch(["drill", "run", "D8", "--dangerous", "--base-dir", box.baseDir]);
  await until("a thousand pins begin to be there", async () => (await pinCount()) > 0);
  run.kill();
  await run.ended;
  const pins = join(box.baseDir, "state/pins.sqlite");
  await rename(pins, `${pins}.away`);
  const { exitCode, report } = await drill(["D2"]);
  expect(exitCode).toBe(1);
  expect(report.ok).toBe(false);
  expect(report.leftBehind.join()).toContain("is still there");
  await rename(`${pins}.away`, pins);
  expect((await drill(["D1"])).report.leftBehind).toEqual([]);
});

test("a dry run says what would be done and writes nothing", async () => {
  const before = await traces();
  const run = await box.run(["drill", "run", "--dry-run"]);
  expect(run.exitCode).toBe(0);
  expect(run.stdout).toContain("+ D1  Every service answers a question");
  expect(run.stdout).toMatch(/- D8 .*\n +not run: adds 1000 pins .*--dangerous allows it/);
  expect(await traces()).toEqual(before);
});
