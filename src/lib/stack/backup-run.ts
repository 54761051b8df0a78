import { userInfo } from "node:os";
import { rm, statfs } from "node:fs/promises";
import type { LoadedConfig } from "../config/load.ts";
import { formatUtc } from "../kernel/clock.ts";
import { systemErrorCode } from "../kernel/errors.ts";
import { fsyncDir, SECRET_FILE_MODE, writeFileAtomic } from "../kernel/files.ts";
import { toolVersion } from "../kernel/project.ts";
import { ensureSigningKey } from "../pinset/signing.ts";
import type { BackupRecord, TestRecord } from "../recovery/backup/backup-record.ts";
import { readBackupSource } from "../recovery/backup/base-backup.ts";
import { type BackupEntry, checkContent, isFuture, listBackups } from "../recovery/backup/catalogue.ts";
import { absent } from "../recovery/backup/keep-files.ts";
import {
  type BackupKeepReason,
  type BackupPruneReport,
  decideBackupPrune,
  pruneBackups,
  pruneCandidates,
} from "../recovery/backup/prune-backups.ts";
import { openReplication } from "../recovery/backup/replication.ts";
import { takeBackup } from "../recovery/backup/take-backup.ts";
import { type RestoreSite, testBackup } from "../recovery/backup/test-backup.ts";
import { formatLsn } from "../recovery/lsn.ts";
import { findFreePort } from "../runtime/processes.ts";
import { lookAtRestored } from "./backup-check.ts";
import { type BackupDeps, backupPlace, backupTrust, withBackupConnection } from "./backup-place.ts";
import { ownPostgres } from "./own-postgres.ts";
import { openOwnSite } from "./own-server.ts";
import { nearestExisting } from "./preflight-base-dir.ts";

/** Told what a run is at. */
export type BackupProgress = (phase: "copy" | "test" | "read", doneBytes: number, totalBytes: number) => void;

/** What an operator may choose for one backup. */
export interface BackupCreateOptions {
  /** Whether it is restored for a test afterwards. */
  readonly test: boolean;
  /** Whether old ones are removed afterwards, where this one is good. */
  readonly prune: boolean;
}

/** A base backup as `--json` prints it. Positions are texts as PostgreSQL writes them, times RFC 3339 UTC. */
export interface BackupListing {
  readonly name: string;
  readonly dir: string;
  /** By the server's clock: from when on the ledger can be restored from it. Null where its record cannot be trusted. */
  readonly endedAt: string | null;
  readonly ageMs: number | null;
  readonly bytes: number;
  readonly dataBytes: number | null;
  readonly node: string | null;
  readonly systemId: string | null;
  readonly epoch: { readonly number: string; readonly uuid: string } | null;
  readonly timeline: number | null;
  readonly startLsn: string | null;
  readonly endLsn: string | null;
  /** Signed by a key that is trusted here, and its files have the sizes that were signed. */
  readonly good: boolean;
  readonly problems: readonly string[];
  readonly test: Pick<TestRecord, "at" | "ok" | "pgVerifyBackup" | "problems"> | null;
  readonly kept: string | null;
  readonly pins: readonly string[];
}

/** What `backup create` would do. */
export interface BackupPlan {
  /** `host:port` */
  readonly server: string;
  /** About: of all its databases. */
  readonly dataBytes: number;
  readonly freeBytes: number;
  readonly dir: string;
}

/** What `backup create` did. */
export interface BackupCreateReport {
  readonly ok: boolean;
  readonly backup: BackupListing;
  readonly durationMs: number;
  /** Null where no old ones were to be removed, or this one is not good. */
  readonly pruned: BackupPruneReport | null;
}

/** What `backup verify` found of one backup. */
export interface BackupVerification {
  readonly ok: boolean;
  readonly backup: BackupListing;
  readonly problems: readonly string[];
}

/** Why a backup stays, beside what it is. */
export interface ListedBackup extends BackupListing {
  readonly keep: readonly BackupKeepReason[];
}

/** As `--json` prints a backup. */
function listingOf(entry: BackupEntry, nowMs: number): BackupListing {
  const { name, files, record, test, kept, pins, bytes, problems } = entry;
  const of = <T>(pick: (record: BackupRecord) => T): T | null => (record === null ? null : pick(record));
  return {
    name,
    dir: files.dir,
    endedAt: of(({ endedAt }) => endedAt),
    ageMs: of(({ endedAt }) => nowMs - Date.parse(endedAt)),
    bytes,
    dataBytes: of(({ dataBytes }) => dataBytes),
    node: of(({ node }) => node),
    systemId: of(({ systemId }) => systemId),
    epoch: record?.epoch == null ? null : { number: String(record.epoch.number), uuid: record.epoch.uuid },
    timeline: of(({ timeline }) => timeline),
    startLsn: of(({ startLsn }) => formatLsn(startLsn)),
    endLsn: of(({ endLsn }) => formatLsn(endLsn)),
    good: problems.length === 0,
    problems,
    test:
      test === null ? null : { at: test.at, ok: test.ok, pgVerifyBackup: test.pgVerifyBackup, problems: test.problems },
    kept: kept === null ? null : `${kept.by}: ${kept.because}`,
    pins,
  };
}

/** Where backups of this box are restored. @throws FulaError as `openOwnSite` */
export async function restoreSiteOf(
  loaded: LoadedConfig,
  deps: BackupDeps,
  check: RestoreSite["check"],
): Promise<RestoreSite> {
  return {
    site: await openOwnSite(loaded, deps),
    locksDir: loaded.paths.locksDir,
    database: loaded.config.postgres.database,
    check,
    freePort: findFreePort,
    clock: deps.clock,
    random: deps.random,
  };
}

/** @throws FulaError FULA_BASE_BACKUP_ABSENT */
async function entryOf(loaded: LoadedConfig, name: string): Promise<BackupEntry> {
  const { backupDir } = backupPlace(loaded);
  const found = (await listBackups(backupDir, await backupTrust(loaded))).find((entry) => entry.name === name);
  if (found === undefined) throw absent(backupDir, name);
  return found;
}

async function testEntry(
  loaded: LoadedConfig,
  entry: BackupEntry,
  deps: BackupDeps,
  onProgress: BackupProgress,
): Promise<TestRecord> {
  const { signal } = deps;
  const check: RestoreSite["check"] = async (target) => (await lookAtRestored(target, false, signal)).problems;
  const place = await restoreSiteOf(loaded, deps, check);
  const signer = await ensureSigningKey(loaded.paths.keysDir);
  return await testBackup(place, entry, signer, {
    signal,
    onProgress: (done, total) => {
      onProgress("test", done, total);
    },
  });
}

/**
 * Takes a base backup of the server that this box carries, restores it for a test, and removes old ones where it is good.
 * @throws FulaError as `takeBackup`, `testBackup` and `openLedger` do
 */
export async function createBackup(
  loaded: LoadedConfig,
  options: BackupCreateOptions,
  deps: BackupDeps,
  onProgress: BackupProgress,
): Promise<BackupCreateReport> {
  const { clock, random, signal } = deps;
  const place = backupPlace(loaded);
  const startedMs = clock.monotonicMs();
  const signer = await ensureSigningKey(loaded.paths.keysDir);
  const { name } = await withBackupConnection(
    loaded,
    deps,
    async (connection) =>
      await takeBackup({
        ...place,
        connection,
        signer,
        node: loaded.config.node.name,
        tool: `fula-master ${toolVersion()}`,
        clock,
        random,
        signal,
        onProgress: (done, total) => {
          onProgress("copy", done, total);
        },
      }),
  );
  // A box without a server of its own has no programs to restore with.
  const isTested = options.test && ownPostgres(loaded.config) !== null;
  const test = isTested ? await testEntry(loaded, await entryOf(loaded, name), deps, onProgress) : null;
  const ok = test === null || test.ok;
  const pruned = ok && options.prune ? await pruneRun(loaded, false, deps) : null;
  const backup = listingOf(await entryOf(loaded, name), clock.nowMs());
  return { ok, backup, durationMs: clock.monotonicMs() - startedMs, pruned };
}

/**
 * Says what `createBackup` would do. Writes nothing.
 * @throws FulaError FULA_BASE_BACKUP_SOURCE, and what `openLedger` throws
 */
export async function proposeBackup(loaded: LoadedConfig, deps: BackupDeps): Promise<BackupPlan> {
  const { clock, signal } = deps;
  const { backupDir } = backupPlace(loaded);
  return await withBackupConnection(loaded, deps, async (connection) => {
    await using session = await openReplication(connection, clock, signal);
    await readBackupSource(session);
    const [row] = await session.rows("select sum(pg_database_size(oid)) from pg_database");
    const { bavail, bsize } = await statfs(await nearestExisting(backupDir));
    return {
      server: `${connection.host}:${connection.port}`,
      dataBytes: Number(row?.[0]),
      freeBytes: bavail * bsize,
      dir: backupDir,
    };
  });
}

/** Every backup of this box, newest first, and what prune would do with it. Reads only. */
export async function listRun(loaded: LoadedConfig, deps: BackupDeps): Promise<readonly ListedBackup[]> {
  const entries = await listBackups(backupPlace(loaded).backupDir, await backupTrust(loaded));
  const nowMs = deps.clock.nowMs();
  const candidates = entries.map((entry) => ({
    name: entry.name,
    isGood: entry.problems.length === 0,
    isKept: entry.kept !== null,
    isPinned: entry.pins.length > 0,
    isFuture: isFuture(entry, nowMs),
  }));
  const decisions = new Map(
    decideBackupPrune(candidates, loaded.config.backup.keep).map(({ name, reasons }) => [name, reasons]),
  );
  return entries.map((entry) => ({ ...listingOf(entry, nowMs), keep: decisions.get(entry.name) ?? [] }));
}

/**
 * Reads all of a backup, or of each; `deep` restores it for a test besides.
 * @param name null for the newest, "all" for each
 * @throws FulaError FULA_BASE_BACKUP_ABSENT, and what `testBackup` throws
 */
export async function verifyRun(
  loaded: LoadedConfig,
  name: string | null,
  deep: boolean,
  deps: BackupDeps,
  onProgress: BackupProgress,
): Promise<readonly BackupVerification[]> {
  const { backupDir } = backupPlace(loaded);
  const entries = await listBackups(backupDir, await backupTrust(loaded));
  const wanted =
    name === "all" ? entries : entries.filter((entry, index) => (name === null ? index === 0 : entry.name === name));
  if (wanted.length === 0) throw absent(backupDir, name ?? "at all");
  const verifications: BackupVerification[] = [];
  for (const entry of wanted) {
    const problems = [
      ...(await checkContent(entry, {
        signal: deps.signal,
        onProgress: (done, total) => {
          onProgress("read", done, total);
        },
      })),
    ];
    if (deep && problems.length === 0) problems.push(...(await testEntry(loaded, entry, deps, onProgress)).problems);
    const backup = listingOf(await entryOf(loaded, entry.name), deps.clock.nowMs());
    verifications.push({ ok: problems.length === 0, backup, problems });
  }
  return verifications;
}

/** Removes what `backup.keep` does not keep; with `dryRun` only says what. @throws FulaError as `pruneBackups` */
export async function pruneRun(loaded: LoadedConfig, dryRun: boolean, deps: BackupDeps): Promise<BackupPruneReport> {
  const { keep } = loaded.config.backup;
  const place = backupPlace(loaded);
  const trust = await backupTrust(loaded);
  const { clock, signal } = deps;
  if (!dryRun) return await pruneBackups({ ...place, trust, clock, signal }, keep);
  const candidates = await pruneCandidates(await listBackups(place.backupDir, trust), deps);
  const decisions = decideBackupPrune(candidates, keep);
  return { decisions, removed: decisions.filter((each) => !each.keep).map(({ name }) => name), removedWal: [] };
}

/** Says that a backup stays whatever the policy is. @throws FulaError FULA_BASE_BACKUP_ABSENT */
export async function keepRun(
  loaded: LoadedConfig,
  name: string,
  because: string,
  dryRun: boolean,
  { clock }: BackupDeps,
): Promise<BackupListing> {
  const entry = await entryOf(loaded, name);
  if (!dryRun) {
    const note = { by: userInfo().username, because, at: formatUtc(clock.nowMs()) };
    try {
      await writeFileAtomic(entry.files.kept, `${JSON.stringify(note)}\n`, { mode: SECRET_FILE_MODE });
    } catch (error) {
      // It was just removed.
      throw systemErrorCode(error) === "ENOENT" ? absent(backupPlace(loaded).backupDir, name) : error;
    }
  }
  return listingOf(await entryOf(loaded, name), clock.nowMs());
}

/** Takes that back. @throws FulaError FULA_BASE_BACKUP_ABSENT */
export async function unkeepRun(
  loaded: LoadedConfig,
  name: string,
  dryRun: boolean,
  { clock }: BackupDeps,
): Promise<BackupListing> {
  const entry = await entryOf(loaded, name);
  if (!dryRun) {
    await rm(entry.files.kept, { force: true });
    await fsyncDir(entry.files.dir);
  }
  return listingOf(await entryOf(loaded, name), clock.nowMs());
}
