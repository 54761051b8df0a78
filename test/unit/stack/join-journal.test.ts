import { appendFile, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { Clock } from "../../../src/lib/kernel/clock.ts";
import { openJournal } from "../../../src/lib/kernel/journal.ts";
import { findUnfinishedRun, JOIN_JOURNAL } from "../../../src/lib/stack/join-journal.ts";

const STEPS = ["directories", "settings", "secrets"];
let dir: string;
let nowMs = Date.UTC(2026, 10, 20);
const clock: Clock = { nowMs: () => (nowMs += 1_000), monotonicMs: () => 0, sleep: async () => {} };

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "fula-join-journal-"));
});

afterEach(async () => {
  await rm(dir, { recursive: true, force: true });
});

async function writeRun(events: readonly (readonly [string, string?])[]): Promise<string> {
  await using journal = await openJournal(dir, JOIN_JOURNAL, clock);
  await journal.append("join.started", { steps: STEPS });
  for (const [event, step] of events) await journal.append(event, step === undefined ? {} : { step });
  return journal.path;
}

test("a box without a journal has no unfinished run", async () => {
  expect(await findUnfinishedRun(join(dir, "absent"))).toBeNull();
  expect(await findUnfinishedRun(dir)).toBeNull();
});

test("a run that came to its end is not unfinished", async () => {
  await writeRun([["step.started", "directories"], ["step.done", "directories"], ["join.finished"]]);
  expect(await findUnfinishedRun(dir)).toBeNull();
});

test("a run that was killed within a step stopped at that step", async () => {
  await writeRun([
    ["step.started", "directories"],
    ["step.done", "directories"],
    ["step.started", "settings"],
  ]);
  expect(await findUnfinishedRun(dir)).toMatchObject({ stoppedAt: "settings", begun: true, done: ["directories"] });
});

test("a run that was killed between two steps stopped at the one that comes next", async () => {
  await writeRun([
    ["step.started", "directories"],
    ["step.done", "directories"],
  ]);
  expect(await findUnfinishedRun(dir)).toMatchObject({ stoppedAt: "settings", begun: false });
});

test("a run that was killed before its first step says so", async () => {
  await writeRun([]);
  expect(await findUnfinishedRun(dir)).toMatchObject({ stoppedAt: null, begun: false, done: [] });
});

test("a last line that the crash cut short does not hide the rest", async () => {
  await appendFile(await writeRun([["step.started", "secrets"]]), '{"at":"2026-11-20T00:00:00Z","event":"step.do');
  expect(await findUnfinishedRun(dir)).toMatchObject({ stoppedAt: "secrets", begun: true });
});

test("only the newest run counts", async () => {
  await writeRun([["step.started", "secrets"]]);
  await writeRun([["join.finished"]]);
  expect(await findUnfinishedRun(dir)).toBeNull();
});
