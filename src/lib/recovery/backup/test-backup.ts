import { type Clock, formatUtc } from "../../kernel/clock.ts";
import { FulaError, messageOf } from "../../kernel/errors.ts";
import { SECRET_FILE_MODE, writeFileAtomic } from "../../kernel/files.ts";
import { acquireLock } from "../../kernel/lock.ts";
import type { Random } from "../../kernel/random.ts";
import type { ConnectionTarget } from "../../postgres/pool.ts";
import type { PostgresSite, SiteSession } from "../../runtime/postgres-site.ts";
import { join } from "node:path";
import { runScript } from "../postgres/site-files.ts";
import { renderTestRecord, type TestRecord } from "./backup-record.ts";
import type { BackupEntry, ContentCheck } from "./catalogue.ts";
import { recoverData } from "./recover.ts";
import { withScratchServer } from "./scratch-server.ts";
import type { BackupSigner } from "./signer.ts";
import { assertSiteRoom, damagedBackup, type SignedBackup, unpackBackup } from "./unpack.ts";

/** Looks at a restored ledger. @returns what is wrong with it, sentences */
export type LedgerCheck = (target: ConnectionTarget) => Promise<readonly string[]>;

/** What restoring at a site needs. */
export interface RestoreSite {
  readonly site: PostgresSite;
  readonly locksDir: string;
  readonly database: string;
  readonly check: LedgerCheck;
  /** Free on this box. */
  readonly freePort: () => Promise<number>;
  readonly clock: Clock;
  readonly random: Random;
}

/** Beside the data directory, never in it. */
const SCRATCH = "backup-test.";
const CLEAR = 'cd "$1" && rm -rf backup-test.*';
const HAS_PROGRAM = 'command -v "$1" >/dev/null 2>&1 && echo yes || echo no';
const RANDOM_BYTES = 4;
const CHARS_MAX = 600;

/** A record that may be given to a server. @throws FulaError FULA_BASE_BACKUP_DAMAGED */
export function assertSigned(entry: BackupEntry): SignedBackup {
  const { record, problems, name } = entry;
  if (record === null || problems.length > 0) throw damagedBackup(name, problems);
  return { ...entry, record };
}

/**
 * Restores a backup beside the data directory, lets PostgreSQL recover it, looks at it, and takes it away again. What came
 * of it is signed and kept with the backup, also where it was bad.
 * @throws FulaError FULA_LOCKED, FULA_DISK_FULL, and what keeps a test from being made
 */
export async function testBackup(
  place: RestoreSite,
  entry: BackupEntry,
  signer: BackupSigner,
  check: ContentCheck,
): Promise<TestRecord> {
  const { site, locksDir, clock } = place;
  const signed = assertSigned(entry);
  using _ = await acquireLock(join(locksDir, "backup-test.lock"), "restore a base backup for a test", clock);
  await using session = await site.open(check.signal);
  await runScript(session, "clear away earlier tests", CLEAR, [site.rootDir]);
  let found: Pick<TestRecord, "pgVerifyBackup" | "problems">;
  try {
    found = await restoreAndLook(place, session, signed, check);
  } finally {
    // Not by the signal of the run: it may be what ended it.
    await using cleaning = await site.open(new AbortController().signal);
    await runScript(cleaning, "clear away the test", CLEAR, [site.rootDir]);
  }
  const record: TestRecord = {
    name: entry.name,
    recordSha256: entry.recordSha256 ?? "",
    at: formatUtc(clock.nowMs()),
    keyId: signer.keyId,
    ok: found.problems.length === 0,
    ...found,
  };
  const bytes = renderTestRecord(record);
  await writeFileAtomic(entry.files.testSignature, signer.sign(bytes), { mode: SECRET_FILE_MODE });
  await writeFileAtomic(entry.files.test, bytes, { mode: SECRET_FILE_MODE });
  return record;
}

async function restoreAndLook(
  place: RestoreSite,
  session: SiteSession,
  entry: SignedBackup,
  check: ContentCheck,
): Promise<Pick<TestRecord, "pgVerifyBackup" | "problems">> {
  const { site, database, clock, random } = place;
  const { signal } = check;
  await assertSiteRoom(session, site.rootDir, entry.record.dataBytes);
  const dataDir = `${site.rootDir}/${SCRATCH}${Buffer.from(random.bytes(RANDOM_BYTES)).toString("hex")}`;
  let pgVerifyBackup: boolean | null = null;
  try {
    await unpackBackup(session, entry, dataDir, check);
    const verified = await verifyByPostgres(session, dataDir, signal);
    if (verified !== null) pgVerifyBackup = verified === "";
    if (verified !== null && verified !== "") return { pgVerifyBackup, problems: [`pg_verifybackup: ${verified}`] };
    const recovery = {
      dataDir,
      walDir: null,
      target: { kind: "consistent" },
      timeline: null,
      database,
      signal,
    } as const;
    await recoverData(session, recovery);
    const scratch = {
      session,
      dataDir,
      database,
      host: session.host,
      port: await place.freePort(),
      clock,
      random,
      signal,
    };
    return { pgVerifyBackup, problems: await withScratchServer(scratch, place.check) };
  } catch (error) {
    signal.throwIfAborted();
    if (!(error instanceof FulaError) || error.kind === "unavailable") throw error;
    return { pgVerifyBackup, problems: [messageOf(error)] };
  }
}

/** What PostgreSQL's own check says: nothing is well; null where these programs lack it. */
async function verifyByPostgres(session: SiteSession, dataDir: string, signal: AbortSignal): Promise<string | null> {
  const there = await runScript(session, "look for pg_verifybackup", HAS_PROGRAM, ["pg_verifybackup"]);
  if (there.trim() !== "yes") return null;
  const { exitCode, stderr } = await session.run("pg_verifybackup", { args: ["--quiet", dataDir], signal });
  if (exitCode === 0) return "";
  return stderr.slice(-CHARS_MAX) || `it ended with ${exitCode ?? "a signal"}`;
}
