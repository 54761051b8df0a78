import { mkdirSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { expect, test } from "vitest";
import type { BackupFacts } from "../../../src/lib/stack/backup-facts.ts";
import { judgeBackups } from "../../../src/lib/stack/backup-judge.ts";
import { whyNoBackups } from "../../../src/lib/stack/backup-place.ts";
import { ledgerEpochFile } from "../../../src/lib/stack/ledger-epoch-file.ts";
import { loadedBox } from "../../support/schedules.ts";

const HOUR_MS = 3_600_000;
const NOW_MS = Date.parse("2026-11-22T12:00:00Z");
const NEWEST = { name: "base-x", endedAt: "2026-11-22T02:30:00Z", ageMs: 9 * HOUR_MS, tested: true };
const ARCHIVE = { systemId: "7", bytes: 1, reachesTo: "0/5000000", timeline: 1, holes: [] };
const WELL: BackupFacts = {
  dir: "/b",
  count: 1,
  bytes: 1,
  newest: NEWEST,
  stale: false,
  future: [],
  damaged: [],
  isDue: true,
  archive: ARCHIVE,
};
const POLICY = { maxAgeMs: 26 * HOUR_MS, archive: true, joinedAtMs: 0, nowMs: NOW_MS };

test("base backups of which everything is known and right are well", () => {
  expect(judgeBackups(WELL, POLICY)).toEqual([]);
  expect(judgeBackups({ ...WELL, archive: null }, { ...POLICY, archive: false })).toEqual([]);
});

const NONE = { newest: null, stale: true, count: 0 } as const;
const PROBLEMS: readonly (readonly [string, Partial<BackupFacts>, Partial<typeof POLICY>, string | null])[] = [
  ["there is none", NONE, {}, "bad"],
  ["there is none on a box that was set up an hour ago", NONE, { joinedAtMs: NOW_MS - HOUR_MS }, null],
  ["there is none where none is due", { ...NONE, isDue: false }, {}, null],
  ["the newest is old", { stale: true }, {}, "bad"],
  ["the newest is old where none is due", { stale: true, isDue: false }, {}, null],
  ["its test restore failed", { newest: { ...NEWEST, tested: false } }, {}, "bad"],
  ["it failed where none is due", { newest: { ...NEWEST, tested: false }, isDue: false }, {}, "bad"],
  ["it was never tested", { newest: { ...NEWEST, tested: null } }, {}, "attention"],
  ["one is of tomorrow", { future: ["base-y"] }, {}, "bad"],
  ["one is damaged", { damaged: ["base-y"] }, {}, "bad"],
  ["nothing is archived", { archive: null }, {}, "bad"],
  ["WAL is missing", { archive: { ...ARCHIVE, holes: ["0/3000000-0/4000000 on timeline 1"] } }, {}, "attention"],
];

test.each(PROBLEMS)("where %s, that is told, with what to do", (_, facts, policy, severity) => {
  const problems = judgeBackups({ ...WELL, ...facts }, { ...POLICY, ...policy });
  expect(problems.map((problem) => problem.severity)).toEqual(severity === null ? [] : [severity]);
  for (const { remedy } of problems) expect(remedy).not.toBe("");
});

const EMBEDDED = "node:\n  name: fula-1\nruntime: embedded\npostgres:\n  mode: embedded\n";
const STANDBY = "node:\n  name: fula-1\npostgres:\n  mode: external\n  host: db\nstandby:\n  server: embedded\n";

async function because(yaml: string, primary: string | null = null): Promise<string | null> {
  const loaded = await loadedBox({ yaml });
  if (primary !== null) {
    const epoch = { number: 2, uuid: "22222222-2222-4222-8222-222222222222" };
    const path = ledgerEpochFile(loaded.paths.stateDir);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, JSON.stringify({ seen: epoch, followed: { ...epoch, primary, address: null } }));
  }
  return await whyNoBackups(loaded);
}

test("base backups are due on the box with the ledger's primary, and where WAL is archived", async () => {
  expect(await because(EMBEDDED)).toBeNull();
  expect(await because(EMBEDDED, "fula-1")).toBeNull();
  expect(await because(EMBEDDED, "fula-2")).toBe("fula-2 has the ledger's primary");
  expect(await because(STANDBY)).toBe("this box carries a standby");
  expect(await because(STANDBY, "fula-1")).toBeNull();
  expect(await because(`${STANDBY}backup:\n  archive: true\n`, "fula-2")).toBeNull();
  expect(await because("node:\n  name: fula-1\npostgres:\n  mode: external\n  host: db\n")).toBe(
    "this box carries no server of the ledger",
  );
});
