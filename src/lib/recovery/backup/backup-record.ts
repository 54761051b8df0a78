import { join } from "node:path";
import { z } from "zod";
import { formatUtc } from "../../kernel/clock.ts";
import type { Epoch } from "../epoch.ts";
import { formatLsn, type Lsn, parseLsn } from "../lsn.ts";
import type { WalRange } from "./backup-manifest.ts";

/** Size in bytes and SHA-256 in lower-case hex of a file. */
export interface FileDigest {
  readonly bytes: number;
  readonly sha256: string;
}

/** What is signed of a base backup. */
export interface BackupRecord {
  /** The directory's name: `base-20261122T031500Z-3f9a1c20`. */
  readonly name: string;
  /** RFC 3339, UTC: when it began. */
  readonly startedAt: string;
  /** By the clock of the server, when all of it was read: a restore to an earlier time needs an earlier backup. */
  readonly endedAt: string;
  /** Node and key that took it. */
  readonly node: string;
  readonly keyId: string;
  readonly systemId: string;
  /** The newest row of `ledger_epochs` when it began; null where there was none. */
  readonly epoch: Epoch | null;
  readonly timeline: number;
  /** Where recovery begins, and from where on the data is consistent. */
  readonly startLsn: Lsn;
  readonly endLsn: Lsn;
  readonly walRanges: readonly WalRange[];
  readonly segmentBytes: number;
  /** True where the server that was copied was itself a standby. */
  readonly fromStandby: boolean;
  /** As `server_version_num`: 150018. */
  readonly serverVersion: number;
  /** The program that took it: `fula-master 1.2.3`. */
  readonly tool: string;
  /** The data directory with the WAL that it needs, as a tar archive compressed by zstd. */
  readonly archive: FileDigest;
  /** Of the archive before it was compressed, and the files in it. */
  readonly dataBytes: number;
  readonly fileCount: number;
  readonly manifest: FileDigest;
}

/** What a test restore of a backup came to; signed too. */
export interface TestRecord {
  readonly name: string;
  /** Of the record of the backup that was tested. */
  readonly recordSha256: string;
  /** RFC 3339, UTC. */
  readonly at: string;
  readonly keyId: string;
  readonly ok: boolean;
  /** Whether PostgreSQL's own `pg_verifybackup` found nothing; null where these programs lack it. */
  readonly pgVerifyBackup: boolean | null;
  /** What was found wrong, sentences. */
  readonly problems: readonly string[];
}

/** Where the files of a backup lie. */
export interface BackupFiles {
  readonly dir: string;
  readonly archive: string;
  readonly manifest: string;
  readonly record: string;
  readonly signature: string;
  readonly test: string;
  readonly testSignature: string;
  /** An operator's word that it stays. */
  readonly kept: string;
}

const FORMAT = "fula-master/base-backup/1";
const TEST_FORMAT = "fula-master/base-backup-test/1";
const NAME = /^base-(\d{4})(\d{2})(\d{2})T(\d{2})(\d{2})(\d{2})Z-[0-9a-f]{8}$/;

const lsn = z.string().transform((text) => parseLsn(text));
const digest = z.strictObject({ bytes: z.int().nonnegative(), sha256: z.string().regex(/^[0-9a-f]{64}$/) });
const name = z.string().regex(NAME);
const keyId = z.string().max(200);
const recordSchema = z.strictObject({
  format: z.literal(FORMAT),
  name,
  startedAt: z.iso.datetime(),
  endedAt: z.iso.datetime(),
  node: z.string(),
  keyId,
  systemId: z.string().regex(/^\d{1,20}$/),
  epoch: z
    .strictObject({
      number: z
        .string()
        .regex(/^\d{1,19}$/)
        .transform(BigInt),
      uuid: z.uuid(),
    })
    .nullable(),
  timeline: z.int().positive(),
  startLsn: lsn,
  endLsn: lsn,
  walRanges: z.array(z.strictObject({ timeline: z.int().positive(), startLsn: lsn, endLsn: lsn })).min(1),
  segmentBytes: z.int().positive(),
  fromStandby: z.boolean(),
  serverVersion: z.int().positive(),
  tool: z.string(),
  archive: digest,
  dataBytes: z.int().positive(),
  fileCount: z.int().positive(),
  manifest: digest,
});
const testSchema = z.strictObject({
  format: z.literal(TEST_FORMAT),
  name,
  recordSha256: z.string().regex(/^[0-9a-f]{64}$/),
  at: z.iso.datetime(),
  keyId,
  ok: z.boolean(),
  pgVerifyBackup: z.boolean().nullable(),
  problems: z.array(z.string()),
});

/** Names a backup that begins now. @param random eight hex digits */
export function backupName(startedMs: number, random: string): string {
  return `base-${formatUtc(startedMs).replaceAll(/[-:]/g, "")}-${random}`;
}

/** True for the name of a whole backup; false for what is being made or removed, and for everything else. */
export function isBackupName(text: string): boolean {
  return NAME.test(text);
}

/** Where the files of a backup lie. */
export function backupFiles(backupDir: string, backup: string): BackupFiles {
  const dir = join(backupDir, backup);
  return {
    dir,
    archive: join(dir, "base.tar.zst"),
    manifest: join(dir, "backup_manifest"),
    record: join(dir, "backup.json"),
    signature: join(dir, "backup.json.sig"),
    test: join(dir, "tested.json"),
    testSignature: join(dir, "tested.json.sig"),
    kept: join(dir, "kept.json"),
  };
}

function toText(value: object): string {
  return `${JSON.stringify(value, (_, part: unknown) => (typeof part === "bigint" ? String(part) : part), 2)}\n`;
}

function rangeText({ timeline, startLsn, endLsn }: WalRange): object {
  return { timeline, startLsn: formatLsn(startLsn), endLsn: formatLsn(endLsn) };
}

/** The bytes that are signed. */
export function renderBackupRecord(record: BackupRecord): Buffer {
  const { startLsn, endLsn, walRanges } = record;
  return Buffer.from(
    toText({
      format: FORMAT,
      ...record,
      startLsn: formatLsn(startLsn),
      endLsn: formatLsn(endLsn),
      walRanges: walRanges.map(rangeText),
    }),
  );
}

/** Reads what `renderBackupRecord` wrote. @throws Error for anything else */
export function parseBackupRecord(bytes: Buffer): BackupRecord {
  const { format: _, ...record } = recordSchema.parse(JSON.parse(bytes.toString("utf8")));
  return record;
}

/** The bytes of a test's record that are signed. */
export function renderTestRecord(record: TestRecord): Buffer {
  return Buffer.from(toText({ format: TEST_FORMAT, ...record }));
}

/** Reads what `renderTestRecord` wrote. @throws Error for anything else */
export function parseTestRecord(bytes: Buffer): TestRecord {
  const { format: _, ...record } = testSchema.parse(JSON.parse(bytes.toString("utf8")));
  return record;
}
