import { expect, test } from "vitest";
import { isFulaError } from "../../../src/lib/kernel/errors.ts";
import type { BackupRecord } from "../../../src/lib/recovery/backup/backup-record.ts";
import { backupFiles, parseBackupRecord, renderBackupRecord } from "../../../src/lib/recovery/backup/backup-record.ts";
import type { BackupEntry } from "../../../src/lib/recovery/backup/catalogue.ts";
import { planRestore, type RestoreRequest } from "../../../src/lib/recovery/backup/restore-plan.ts";
import { walFileName } from "../../../src/lib/recovery/lsn.ts";
import { findCutOff } from "../../../src/lib/recovery/backup/restore-backup.ts";
import { distrust } from "../../../src/lib/recovery/backup/shelf.ts";
import type { ArchiveListing } from "../../../src/lib/recovery/backup/wal-archive.ts";
import { assertNewest, parseRestoreTarget } from "../../../src/lib/stack/backup-restore-run.ts";

const SEGMENT = 0x1000;
const NOW_MS = Date.parse("2026-11-22T12:00:00Z");

function backup(day: number, endLsn: bigint, changes: Partial<BackupRecord> = {}): BackupEntry {
  const name = `base-202611${day}T020000Z-0000000${day % 10}`;
  const digest = { bytes: 1, sha256: "0".repeat(64) };
  const record: BackupRecord = {
    name,
    startedAt: `2026-11-${day}T02:00:00Z`,
    endedAt: `2026-11-${day}T02:05:00.000Z`,
    node: "one",
    keyId: "ed25519:x",
    systemId: "77",
    epoch: { number: 3n, uuid: "5a2c9a74-9f0c-4f0e-8a43-0b8a8f3a6a01" },
    timeline: 1,
    startLsn: endLsn - 0x100n,
    endLsn,
    walRanges: [{ timeline: 1, startLsn: endLsn - 0x100n, endLsn }],
    segmentBytes: SEGMENT,
    fromStandby: false,
    serverVersion: 150_018,
    tool: "fula-master test",
    archive: digest,
    dataBytes: 1_000,
    fileCount: 3,
    manifest: digest,
    ...changes,
  };
  const tested = {
    name,
    recordSha256: "",
    at: record.endedAt,
    keyId: record.keyId,
    ok: true,
    pgVerifyBackup: true,
    problems: [],
  };
  const rest = { recordSha256: "", kept: null, pins: [], bytes: 2, problems: [] };
  return { name, files: backupFiles("/b", name), record, test: tested, ...rest };
}

function archive(endLsn: bigint, changes: Partial<ArchiveListing> = {}): ArchiveListing {
  const ranges = [{ timeline: 1, startLsn: 0x1000n, endLsn }];
  return { systemId: "77", segmentBytes: SEGMENT, ranges, holes: [], histories: new Map(), bytes: 0, ...changes };
}

const OLD = backup(20, 0x2100n);
const NEW = backup(21, 0x4100n);

function plan(target: RestoreRequest["target"], listing: ArchiveListing | null, changes: Partial<RestoreRequest> = {}) {
  return planRestore("/b", [NEW, OLD], listing, { target, backup: null, timeline: null, ...changes });
}

function first(timeline: number, segment: number): string {
  return walFileName(timeline, BigInt(segment * SEGMENT), SEGMENT);
}

function codeOf(run: () => unknown): string | null {
  try {
    run();
    return null;
  } catch (error) {
    return isFulaError(error) ? error.code : String(error);
  }
}

test("the newest backup that ended before the target is taken, with the WAL from its end on", () => {
  const target = { kind: "time", atUs: BigInt(Date.parse("2026-11-20T09:00:00Z")) * 1_000n } as const;
  expect(plan(target, archive(0x5800n))).toMatchObject({ backup: { name: OLD.name }, reachLsn: 0x5800n });
  expect(plan({ kind: "latest" }, archive(0x5800n))).toMatchObject({
    backup: { name: NEW.name },
    wal: ["000000010000000000000004", "000000010000000000000005"],
  });
  expect(plan({ kind: "lsn", lsn: 0x4000n }, archive(0x5800n)).backup.name).toBe(OLD.name);
});

test("a position at which the WAL ends means all of it: no record begins there at which recovery could stop", () => {
  expect(plan({ kind: "lsn", lsn: 0x5800n }, archive(0x5800n)).target).toEqual({ kind: "latest" });
  expect(plan({ kind: "lsn", lsn: 0x57ffn }, archive(0x5800n)).target).toEqual({ kind: "lsn", lsn: 0x57ffn });
  expect(plan({ kind: "lsn", lsn: 0x4100n }, null)).toMatchObject({ target: { kind: "latest" }, timeline: null });
});

test("recovery is told the timeline on which it ends, and gets that one's WAL", () => {
  const histories = new Map([[2, [{ timeline: 1, endLsn: 0x5010n }]]]);
  const ranges = [
    { timeline: 1, startLsn: 0x1000n, endLsn: 0x5010n },
    { timeline: 2, startLsn: 0x5000n, endLsn: 0x6800n },
  ];
  const listing = archive(0n, { histories, ranges });
  expect(plan({ kind: "latest" }, listing)).toMatchObject({ timeline: 2, wal: expect.arrayContaining([first(2, 5)]) });
  expect(plan({ kind: "lsn", lsn: 0x5000n }, listing)).toMatchObject({
    timeline: 1,
    wal: ["00000002.history", first(1, 4), first(1, 5)],
  });
  const cut = archive(0n, { histories, ranges: [{ timeline: 1, startLsn: 0x1000n, endLsn: 0x4800n }] });
  expect(codeOf(() => plan({ kind: "latest" }, cut))).toBe("FULA_WAL_ARCHIVE_HOLE");
  expect(plan({ kind: "lsn", lsn: 0x4800n }, cut)).toMatchObject({ target: { kind: "latest" }, timeline: 1 });
});

test("without an archive a restore ends where its backup does", () => {
  expect(plan({ kind: "latest" }, null)).toMatchObject({ backup: { name: NEW.name }, wal: [], reachLsn: 0x4100n });
});

test("what cannot be reached is told before anything is written", () => {
  const hole = archive(0x2800n, {
    ranges: [
      { timeline: 1, startLsn: 0x1000n, endLsn: 0x5000n },
      { timeline: 1, startLsn: 0x6000n, endLsn: 0x8000n },
    ],
  });
  const early = { kind: "time", atUs: BigInt(Date.parse("2026-11-19T09:00:00Z")) * 1_000n } as const;
  const damaged = { ...NEW, problems: ["its archive has 3 bytes"] };
  const at = (request: Partial<RestoreRequest>, entries = [NEW, OLD]) =>
    codeOf(() =>
      planRestore("/b", entries, hole, { target: { kind: "latest" }, backup: null, timeline: null, ...request }),
    );
  expect(at({})).toBe("FULA_WAL_ARCHIVE_HOLE");
  expect(at({ target: { kind: "lsn", lsn: 0x7000n } })).toBe("FULA_WAL_ARCHIVE_HOLE");
  expect(at({ target: { kind: "lsn", lsn: 0x9000n } })).toBe("FULA_RESTORE_TARGET");
  expect(at({ target: { kind: "lsn", lsn: 0x4800n } })).toBeNull();
  expect(at({ target: early })).toBe("FULA_RESTORE_TARGET");
  expect(at({ target: early, backup: OLD.name })).toBe("FULA_RESTORE_TARGET");
  expect(at({ backup: "base-20261101T000000Z-00000000" })).toBe("FULA_BASE_BACKUP_ABSENT");
  expect(at({ backup: NEW.name }, [damaged])).toBe("FULA_BASE_BACKUP_DAMAGED");
  expect(at({}, [damaged])).toBe("FULA_BASE_BACKUP_ABSENT");
  expect(codeOf(() => plan({ kind: "latest" }, archive(0x5000n, { systemId: "78" })))).toBe("FULA_WAL_ARCHIVE_FOREIGN");
});

test("a backup that its timeline took after the wanted one had left it is not on the way there", () => {
  const histories = new Map([[2, [{ timeline: 1, endLsn: 0x3010n }]]]);
  const ranges = [
    { timeline: 1, startLsn: 0x1000n, endLsn: 0x6000n },
    { timeline: 2, startLsn: 0x3000n, endLsn: 0x3800n },
  ];
  const listing = archive(0n, { histories, ranges });
  expect(plan({ kind: "latest" }, listing)).toMatchObject({
    backup: { name: OLD.name },
    timeline: 2,
    reachLsn: 0x3800n,
  });
  expect(plan({ kind: "latest" }, listing, { timeline: 1 })).toMatchObject({
    backup: { name: NEW.name },
    reachLsn: 0x6000n,
  });
  expect(codeOf(() => plan({ kind: "latest" }, listing, { backup: NEW.name }))).toBe("FULA_RESTORE_TARGET");
});

test("the latest is not what the ledger has left by a restore or a promotion", () => {
  const latest = plan({ kind: "latest" }, null);
  const present = (checkpointTimeline: number, systemId = "77") => ({ checkpointTimeline, systemId });
  for (const fine of [null, present(1), present(2, "78")]) {
    expect(() => assertNewest(latest, null, fine)).not.toThrow();
  }
  expect(codeOf(() => assertNewest(latest, null, present(2)))).toBe("FULA_RESTORE_TARGET");
  const histories = new Map([[2, [{ timeline: 1, endLsn: 0x3010n }]]]);
  const listing = archive(0n, { histories, ranges: [{ timeline: 1, startLsn: 0x1000n, endLsn: 0x6000n }] });
  expect(() => assertNewest(latest, listing, present(2))).not.toThrow();
  expect(codeOf(() => assertNewest(latest, listing, present(3)))).toBe("FULA_RESTORE_TARGET");
});

test("a recovery that stops while whole segments follow has met another history", () => {
  const restored = {
    target: { kind: "latest" },
    reachLsn: 0x6010n,
    backup: { record: { segmentBytes: 0x1000 } },
  } as const;
  for (const reachedLsn of [0x6010n, 0x6008n, 0x5ff8n]) expect(findCutOff(restored, { reachedLsn })).toEqual([]);
  expect(findCutOff({ ...restored, reachLsn: 0x6000n }, { reachedLsn: 0x5008n })).toEqual([]);
  expect(findCutOff(restored, { reachedLsn: 0x4ff8n })).toEqual([expect.stringContaining("0/4FF8")]);
  expect(findCutOff({ ...restored, target: { kind: "lsn", lsn: 0x4ff0n } }, { reachedLsn: 0x4ff8n })).toEqual([]);
});

test("a backup is trusted where nothing at all speaks against it", () => {
  const policy = { systemId: "77", isOnLineage: () => true, maxAgeMs: 86_400_000 * 3, nowMs: NOW_MS };
  expect(distrust(NEW, policy)).toEqual([]);
  const reasons: readonly (readonly [BackupEntry, Partial<typeof policy>])[] = [
    [{ ...NEW, problems: ["x"] }, {}],
    [{ ...NEW, test: null }, {}],
    [{ ...NEW, test: NEW.test === null ? null : { ...NEW.test, ok: false } }, {}],
    [{ ...NEW, test: NEW.test === null ? null : { ...NEW.test, pgVerifyBackup: null } }, {}],
    [NEW, { systemId: "78" }],
    [NEW, { isOnLineage: () => false }],
    [NEW, { maxAgeMs: 1_000 }],
  ];
  for (const [entry, changes] of reasons) expect(distrust(entry, { ...policy, ...changes })).toHaveLength(1);
});

test("a record is read again as it was written", () => {
  if (NEW.record === null) throw new Error("it has none");
  expect(parseBackupRecord(renderBackupRecord(NEW.record))).toEqual(NEW.record);
});

test.each([
  ["latest", { kind: "latest" }],
  ["16/B374D848", { kind: "lsn", lsn: 0x16_b374_d848n }],
  ["2026-11-20T03:00:00Z", { kind: "time", atUs: BigInt(Date.parse("2026-11-20T03:00:00Z")) * 1_000n }],
  ["2026-11-20 04:00:00.5+01:00", { kind: "time", atUs: BigInt(Date.parse("2026-11-20T03:00:00.500Z")) * 1_000n }],
  [
    "2026-11-20T03:00:00.123456Z",
    { kind: "time", atUs: BigInt(Date.parse("2026-11-20T03:00:00.123Z")) * 1_000n + 456n },
  ],
])("--to %s is understood", (text, target) => {
  expect(parseRestoreTarget(text, NOW_MS)).toEqual(target);
});

test.each(["2026-11-20T03:00:00", "yesterday", "2026-13-20T03:00:00Z", "2026-11-23T00:00:00Z", "16-B374D848", ""])(
  "--to %s is refused",
  (text) => {
    expect(codeOf(() => parseRestoreTarget(text, NOW_MS))).toBe("FULA_USAGE");
  },
);
