import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { backupFiles, type BackupRecord, renderBackupRecord } from "../../../src/lib/recovery/backup/backup-record.ts";
import { walFileName } from "../../../src/lib/recovery/lsn.ts";
import { ensureSigningKey } from "../../../src/lib/pinset/signing.ts";
import { type BackupFacts, readBackupFacts } from "../../../src/lib/stack/backup-facts.ts";
import { backupPlace } from "../../../src/lib/stack/backup-place.ts";
import { FakeClock } from "../../support/clock.ts";
import { loadedBox } from "../../support/schedules.ts";

const SEGMENT = 4_096;

function at(segment: number, bytes = 0): bigint {
  return BigInt(segment * SEGMENT + bytes);
}

/** What is known of a catalogue with backups that begin and end in a segment, of an archive besides, by days. */
async function factsOf(
  backups: readonly Pick<BackupRecord, "endLsn" | "startedAt" | "systemId" | "timeline">[],
  segments: readonly (readonly [timeline: number, segment: number])[],
  histories: Readonly<Record<string, string>> = {},
): Promise<BackupFacts> {
  const loaded = await loadedBox();
  const { backupDir } = backupPlace(loaded);
  const key = await ensureSigningKey(loaded.paths.keysDir);
  const digest = { bytes: 1, sha256: "0".repeat(64) };
  for (const [index, backup] of backups.entries()) {
    const name = `base-${backup.startedAt.replaceAll(/[-:]/g, "")}-0000000${index}`;
    const files = backupFiles(backupDir, name);
    const range = { timeline: backup.timeline, startLsn: backup.endLsn - 1n, endLsn: backup.endLsn };
    const bytes = renderBackupRecord({
      ...backup,
      name,
      endedAt: backup.startedAt,
      node: "one",
      keyId: key.keyId,
      epoch: null,
      startLsn: range.startLsn,
      walRanges: [range],
      segmentBytes: SEGMENT,
      fromStandby: false,
      serverVersion: 150_018,
      tool: "fula-master test",
      archive: digest,
      dataBytes: 1,
      fileCount: 1,
      manifest: digest,
    });
    mkdirSync(files.dir, { recursive: true });
    writeFileSync(files.record, bytes);
    writeFileSync(files.signature, key.sign(bytes));
    for (const path of [files.archive, files.manifest]) writeFileSync(path, "x");
  }
  const wal = join(backupDir, "wal");
  mkdirSync(wal, { recursive: true });
  writeFileSync(join(wal, "archive.json"), JSON.stringify({ systemId: "77", segmentBytes: SEGMENT }));
  for (const [timeline, segment] of segments) {
    const name = walFileName(timeline, at(segment), SEGMENT);
    writeFileSync(join(wal, name), Buffer.alloc(SEGMENT));
    writeFileSync(join(wal, `${name}.sha256`), "x");
  }
  for (const [name, text] of Object.entries(histories)) writeFileSync(join(wal, name), text);
  return await readBackupFacts(loaded, new FakeClock());
}

// The clock of these tests stands at 2026-11-20T03:00:00Z.
const MONDAY = { startedAt: "2026-11-18T02:30:00Z", systemId: "77", timeline: 1, endLsn: at(3, 16) };
const TUESDAY = { ...MONDAY, startedAt: "2026-11-20T02:30:00Z", endLsn: at(5, 16) };
const TOMORROW = { ...MONDAY, startedAt: "2026-11-21T02:30:00Z", endLsn: at(6, 16) };

test("the newest base backup counts, with the WAL since", async () => {
  const facts = await factsOf(
    [MONDAY, TUESDAY],
    [
      [1, 5],
      [1, 6],
    ],
  );
  expect(facts).toMatchObject({ count: 2, stale: false, future: [], damaged: [] });
  expect(facts.newest).toMatchObject({ endedAt: TUESDAY.startedAt, ageMs: 1_800_000, tested: null });
  expect(facts.archive).toMatchObject({ reachesTo: "0/7000", timeline: 1, holes: [] });
});

test("one that is dated later than it is now is not the newest", async () => {
  const facts = await factsOf([MONDAY, TOMORROW], []);
  expect(facts).toMatchObject({ stale: true, newest: { endedAt: MONDAY.startedAt } });
  expect(facts.future).toHaveLength(1);
});

test("one of what a restore took back does not lead to the ledger of today", async () => {
  const facts = await factsOf(
    [MONDAY, TUESDAY],
    [
      [1, 3],
      [1, 4],
      [1, 5],
      [2, 4],
    ],
    { "00000002.history": "1\t0/4010\tx\n" },
  );
  expect(facts).toMatchObject({ stale: true, newest: { endedAt: MONDAY.startedAt } });
  expect(facts.archive).toMatchObject({ reachesTo: "0/5000", timeline: 2, holes: [] });
});

test("an archive of another server, or without the history of the newest timeline, is no help", async () => {
  const foreign = await factsOf([{ ...TUESDAY, systemId: "78" }], [[1, 5]]);
  expect(foreign.archive).toMatchObject({ reachesTo: null, holes: [expect.stringContaining("another server (77)")] });
  const lost = await factsOf([TUESDAY], [[2, 5]]);
  expect(lost.archive).toMatchObject({ reachesTo: null, holes: ["the history of timeline 2"] });
});
