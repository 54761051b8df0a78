import { FulaError } from "../../kernel/errors.ts";
import { formatBytes } from "../../kernel/units.ts";
import type { SiteSession } from "../../runtime/postgres-site.ts";
import { formatLsn, type Lsn, parseLsn } from "../lsn.ts";
import { freeBytesAt } from "./free-bytes.ts";
import { askOne } from "./ledger-server.ts";
import { readMarker } from "./marker.ts";
import { type PrimaryLink, renderConninfo } from "./primary-link.ts";
import { patientWith, type ReplicaWork, runLong } from "./replica-work.ts";
import { runScript } from "./site-files.ts";
import { siteLayout } from "./site-layout.ts";
import { swapData } from "./swap-data.ts";
import { giveBack, takeServer } from "./take-server.ts";

/** Beside the primary's data: what is written while they are copied, and what the server needs to start. */
const MARGIN = 1.2;
const MARGIN_BYTES = 256 * 1024 ** 2;
const CLEANUP_MS = 60_000;

/** @throws FulaError FULA_RECOVERY_DISK where another copy of the primary's data has no room beside the old ones */
async function assertRoom(files: SiteSession, rootDir: string, primary: PrimaryLink): Promise<void> {
  await using session = await primary.connect();
  const { bytes } = await askOne<{ bytes: string }>(session, {
    name: "recovery_primary_bytes",
    text: `
      select coalesce(sum(pg_database_size(oid)), 0)::text as bytes from pg_database
       where has_database_privilege(oid, 'connect')`,
    values: [],
  });
  const needed = Math.ceil(Number(bytes) * MARGIN) + MARGIN_BYTES;
  const free = await freeBytesAt(files, rootDir);
  if (free >= needed) return;
  throw new FulaError(
    "FULA_RECOVERY_DISK",
    `A new copy of the ledger needs ${formatBytes(needed)} in ${rootDir} beside the old data, and ${formatBytes(free)} are free.`,
    {
      hint: "free space there, or move the directory to a larger disk; the old data are only given up for a copy that is in sync.",
    },
  );
}

const LAST_RANGE = `sed -n '/"WAL-Ranges"/,$p' "$1/backup_manifest"`;

/** The end of the WAL that a backup needs to be consistent, from its manifest. */
async function achievedBy(files: SiteSession, dir: string): Promise<Lsn> {
  const text = await runScript(files, "read the manifest", LAST_RANGE, [dir]);
  const ends = [...text.matchAll(/"End-LSN": "([0-9A-F]+\/[0-9A-F]+)"/g)].map(([, lsn]) => parseLsn(lsn ?? ""));
  const [first, ...others] = ends;
  if (first === undefined) {
    throw new FulaError("FULA_RECOVERY_STEP", `The manifest of ${dir} names no WAL.`, {
      hint: "it is not whole; run the command again.",
    });
  }
  return others.reduce((highest, lsn) => (lsn > highest ? lsn : highest), first);
}

/**
 * Checks a data directory against its manifest, and puts it in the place of the server's.
 * @param atLeast what it must achieve
 * @returns the position that it achieves
 * @throws FulaError FULA_RECOVERY_STEP where a file is missing, changed or too much
 */
export async function adoptData(
  work: ReplicaWork,
  files: SiteSession,
  atLeast: Lsn,
  signal: AbortSignal,
): Promise<Lsn> {
  const { server } = work;
  const dir = siteLayout(server.site).newData(work.session);
  await runLong(patientWith(work), files, `verify ${dir}`, "pg_verifybackup", { args: ["-e", dir], signal });
  const achieved = await achievedBy(files, dir);
  if (achieved < atLeast) {
    throw new FulaError(
      "FULA_RECOVERY_STEP",
      `The copy in ${dir} ends at ${formatLsn(achieved)} and not at ${formatLsn(atLeast)} or later.`,
      { hint: "a backup: fula-master backup verify. The resync goes on with a new copy." },
    );
  }
  await takeServer(work, files, "full_base");
  await swapData(work, files);
  return achieved;
}

/**
 * Runs work that builds `data.new.<session>`, and takes it away again where that fails before it is in place.
 * @throws what the work throws
 */
export async function buildNewData<T>(
  work: ReplicaWork,
  signal: AbortSignal,
  build: (files: SiteSession, dir: string) => Promise<T>,
): Promise<T> {
  const { site } = work.server;
  const dir = siteLayout(site).newData(work.session);
  try {
    await using files = await site.open(signal);
    return await build(files, dir);
  } catch (error) {
    // Another session of the site: the one of the work may be what was aborted.
    await using files = await site.open(AbortSignal.timeout(CLEANUP_MS));
    const marker = await readMarker(files, site);
    // In the middle of an exchange it may be the only whole one.
    if (marker?.phase !== "swap") await runScript(files, `remove ${dir}`, 'rm -rf "$1"', [dir]);
    await giveBack(work);
    throw error;
  }
}

/**
 * Copies the primary anew, beside the old data, verifies the copy and exchanges the two.
 * @returns the position that the copy achieves
 * @throws FulaError FULA_RECOVERY_DISK, FULA_RECOVERY_STEP; the old data are as they were
 */
export async function copyPrimary(work: ReplicaWork, signal: AbortSignal): Promise<Lsn> {
  const { server, following } = work;
  const { primary } = following;
  return await buildNewData(work, signal, async (files, dir) => {
    await assertRoom(files, server.site.rootDir, primary);
    const source = renderConninfo({ ...primary.conninfo, application_name: `${server.node}-base` });
    const how = ["-X", "stream", "-c", "fast", "-P", "-v", "--manifest-checksums=SHA256", "--no-password"];
    await runLong(work, files, `copy ${primary.node}`, "pg_basebackup", {
      args: ["-D", dir, "-d", source, ...how],
      signal,
    });
    return await adoptData(work, files, 0n, signal);
  });
}
