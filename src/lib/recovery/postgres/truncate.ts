import { FulaError, messageOf } from "../../kernel/errors.ts";
import type { SiteSession } from "../../runtime/postgres-site.ts";
import { formatLsn, type Lsn, parseWalFileName, segmentOf } from "../lsn.ts";
import { type ControlData, parseControlData, roleOfState } from "./control-data.ts";
import { assertNoMarker, readMarker, removeMarker } from "./marker.ts";
import { runScript, runStep } from "./site-files.ts";
import { siteLayout } from "./site-layout.ts";
import { giveBack, mark, takeServer } from "./take-server.ts";
import type { ReplicaWork } from "./replica-work.ts";

/** Reading and renaming some files. */
const TIMEOUT_MS = 60_000;

// Names are sorted so that the last segment goes first: what is left after a crash has no hole.
const QUARANTINE = `
umask 077
data=$1; aside=$2; shift 2
mkdir -p "$aside" && sync "\${aside%/*}" || exit 1
for name in "$@"; do
  mv "$data/pg_wal/$name" "$aside/" || exit 1
  rm -f "$data/pg_wal/archive_status/$name.ready" "$data/pg_wal/archive_status/$name.done" || exit 1
done
sync "$aside" "$data/pg_wal"`;

const BRING_BACK = `
data=$1; aside=$2
[ -d "$aside" ] || exit 0
for file in "$aside"/*; do
  # What is still there is whole: it is only taken out once it lies here.
  { [ -e "$file" ] && [ ! -e "$data/pg_wal/\${file##*/}" ]; } || continue
  mv "$file" "$data/pg_wal/" || exit 1
done
sync "$data/pg_wal" && { rmdir "$aside" 2>/dev/null || true; }`;

function unsafe(work: ReplicaWork, lsn: Lsn, because: string): FulaError {
  return new FulaError(
    "FULA_RECOVERY_TRUNCATION_UNSAFE",
    `What ${work.server.site.where} has above ${formatLsn(lsn)} cannot be taken away: ${because}.`,
    { hint: "fula-master resync goes on with a rewind by itself, or with a new copy where that is not possible." },
  );
}

/** What the control file of the stopped server says. @throws FulaError FULA_RECOVERY_TRUNCATION_UNSAFE */
async function readStopped(work: ReplicaWork, files: SiteSession, lsn: Lsn, signal: AbortSignal): Promise<ControlData> {
  const text = await runStep(files, "read the control file", "pg_controldata", {
    args: ["-D", work.server.site.dataDir],
    timeoutMs: TIMEOUT_MS,
    signal,
  });
  const control = parseControlData(text);
  if (control === null) throw unsafe(work, lsn, "its control file cannot be read");
  // Only a standby's data files are known to hold nothing beyond a position: it flushes what it has replayed no further.
  if (roleOfState(control.state) !== "standby") throw unsafe(work, lsn, `it was no standby, but ${control.state}`);
  if (control.minRecoveryEndLsn > lsn) {
    throw unsafe(work, lsn, `its data files have what was written up to ${formatLsn(control.minRecoveryEndLsn)}`);
  }
  if (control.redoLsn > lsn) throw unsafe(work, lsn, `it would begin to replay at ${formatLsn(control.redoLsn)}`);
  return control;
}

/**
 * Takes away the WAL that a standby received above the position at which the primary began a new timeline. Nothing of it is in
 * its data files, which is proven first. The files are kept, in `quarantine/<session>`. The segment that holds the
 * position goes too: the primary has it, under its own timeline, and sends it again.
 * @throws FulaError FULA_RECOVERY_TRUNCATION_UNSAFE where that is not proven, and nothing was done then; FULA_RECOVERY_STEP
 */
export async function truncateWal(work: ReplicaWork, lsn: Lsn, signal: AbortSignal): Promise<void> {
  const { site } = work.server;
  await using files = await site.open(signal);
  try {
    await assertNoMarker(files, site);
    await takeServer(work, files, "truncate");
    const { segmentBytes } = await readStopped(work, files, lsn, signal);
    const away = await segmentsFrom(files, site.dataDir, segmentOf(lsn, segmentBytes), segmentBytes);
    await mark(work, files, "truncate", "write");
    const aside = siteLayout(site).quarantine(work.session);
    await runScript(files, `take WAL out of ${site.where}`, QUARANTINE, [site.dataDir, aside, ...away]);
  } catch (error) {
    await takeBack(work);
    throw error;
  }
  await removeMarker(files, site);
}

/** Brings back what was taken out already: a rewind can begin then, where else only a copy could. */
async function takeBack(work: ReplicaWork): Promise<void> {
  const { site, log } = work.server;
  try {
    await using files = await site.open(AbortSignal.timeout(TIMEOUT_MS));
    const marker = await readMarker(files, site);
    const isOurs = marker?.session === String(work.session) && marker.kind === "truncate";
    if (isOurs && marker.phase === "write") await undoTruncation(work, files, work.session);
  } catch (error) {
    // The marker stands, and the next run tries again.
    log.warn("recovery.truncation_not_undone", { message: messageOf(error) });
  }
  await giveBack(work);
}

/** Whole segments and begun ones from a segment on, of whichever timeline, the last first. */
async function segmentsFrom(
  files: SiteSession,
  dataDir: string,
  first: bigint,
  segmentBytes: number,
): Promise<readonly string[]> {
  const listed = await runScript(files, "list the WAL", 'ls "$1/pg_wal"', [dataDir]);
  return listed
    .split("\n")
    .filter((name) => {
      const file = parseWalFileName(name.replace(/\.partial$/, ""), segmentBytes);
      return file !== null && file.segment >= first;
    })
    .toSorted()
    .toReversed();
}

/** Undoes a truncation that was cut off: its files go back to where they were, and then its marker. @throws FulaError FULA_RECOVERY_STEP */
export async function undoTruncation(
  work: Pick<ReplicaWork, "server">,
  files: SiteSession,
  session: bigint,
): Promise<void> {
  const { site } = work.server;
  await runScript(files, `bring WAL back into ${site.where}`, BRING_BACK, [
    site.dataDir,
    siteLayout(site).quarantine(session),
  ]);
  await removeMarker(files, site);
}
