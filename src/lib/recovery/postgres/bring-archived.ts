import { FulaError, messageOf } from "../../kernel/errors.ts";
import { formatBytes } from "../../kernel/units.ts";
import type { SiteSession } from "../../runtime/postgres-site.ts";
import type { Lsn } from "../lsn.ts";
import { pinName } from "../pins.ts";
import { historyName } from "../timeline-history.ts";
import { filesBetween, proveArchive, type WalArchive } from "./archived-wal.ts";
import { freeBytesAt } from "./free-bytes.ts";
import { lookAtPrimary, readHistoryText } from "./primary-look.ts";
import type { ReplicaWork } from "./replica-work.ts";
import { runScript, writeSiteFile } from "./site-files.ts";
import { siteLayout } from "./site-layout.ts";
import { readSlot } from "./slot-look.ts";
import { giveBack, takeServer } from "./take-server.ts";

const CLEANUP_MS = 60_000;
/** What else is written there meanwhile. */
const MARGIN_BYTES = 256 * 1024 ** 2;

// The oldest first: whatever ends this, what is there has no hole, and the next run goes on after it.
const ADD_WAL = `
data=$1; new=$2; shift 2
for name in "$@"; do mv -f "$new/$name" "$data/pg_wal/$name" && sync "$data/pg_wal/$name" || exit 1; done
sync "$data/pg_wal"`;

/** Log that is brought, and from which history it is. */
interface Missing {
  readonly names: readonly string[];
  readonly histories: ReadonlyMap<string, string>;
  readonly segmentBytes: number;
}

/**
 * Brings the WAL into this box's data directory that its server needs, the primary does not hold for this session, and the
 * archive has. The server is stopped for it. It is the primary's own WAL, so that nothing is lost where this is cut off.
 * @throws FulaError FULA_RECOVERY_ARCHIVE where the archive does not have it, or it is damaged; FULA_RECOVERY_DISK
 */
export async function bringArchived(work: ReplicaWork, startExclusive: Lsn, signal: AbortSignal): Promise<void> {
  const { archive, server, session } = work;
  if (archive === null) return;
  const missing = await findMissing(work, archive, startExclusive);
  if (missing === null) return;
  const { names, histories, segmentBytes } = missing;
  const { site } = server;
  const dir = siteLayout(site).newWal(session);
  try {
    await using files = await site.open(signal);
    await assertRoom(files, site.rootDir, names.length * segmentBytes);
    work.onProgress(`bringing ${names.length} segments of log from the archive`);
    await archive.unpack(names, files, dir, signal);
    await takeServer(work, files, "restore");
    for (const [name, text] of histories) await writeSiteFile(files, `${site.dataDir}/pg_wal/${name}`, text);
    await runScript(files, `add log to ${site.where}`, ADD_WAL, [site.dataDir, dir, ...names], { signal });
  } catch (error) {
    signal.throwIfAborted();
    throw unusable(archive, error);
  } finally {
    await using files = await site.open(AbortSignal.timeout(CLEANUP_MS));
    await runScript(files, `remove ${dir}`, 'rm -rf "$1"', [dir]);
    await giveBack(work);
  }
}

/** @returns null where the primary holds everything */
async function findMissing(work: ReplicaWork, archive: WalArchive, startExclusive: Lsn): Promise<Missing | null> {
  const { following, session } = work;
  await using there = await following.primary.connect();
  const pin = await readSlot(there, pinName(session, "wal"));
  if (pin === null || pin.restartLsn === null || pin.restartLsn <= startExclusive) return null;
  const primary = await lookAtPrimary(there, following.slot, 0);
  const names = filesBetween(primary, startExclusive, pin.restartLsn);
  if (names.length === 0) return null;
  const archived = await proveArchive(there, primary, archive);
  const { segmentBytes } = primary;
  const wanted = await archive.list();
  const absent = names.find((name) => wanted?.bytesOf(name) !== segmentBytes);
  if (archived === null || absent !== undefined) {
    throw unusable(archive, new Error(`it does not have ${absent ?? "what the primary has"} any more`));
  }
  const histories = new Map<string, string>();
  for (const { timeline } of primary.stretches) {
    const text = timeline === 1 ? null : await readHistoryText(there, timeline);
    if (text !== null) histories.set(historyName(timeline), text);
  }
  return { names, histories, segmentBytes };
}

async function assertRoom(files: SiteSession, rootDir: string, bytes: number): Promise<void> {
  const free = await freeBytesAt(files, rootDir);
  const needed = bytes + MARGIN_BYTES;
  if (free >= needed) return;
  throw new FulaError(
    "FULA_RECOVERY_DISK",
    `The archived log that is needed takes ${formatBytes(needed)} in ${rootDir}, and ${formatBytes(free)} are free.`,
    { hint: "free space there, then run the command again." },
  );
}

function unusable(archive: WalArchive, cause: unknown): FulaError {
  archive.distrust();
  return new FulaError("FULA_RECOVERY_ARCHIVE", `The archived log cannot be used: ${messageOf(cause)}`, {
    cause,
    hint: "the resync goes on without the archive. fula-master backup verify looks at it.",
  });
}
