import { formatUtc } from "../../kernel/clock.ts";
import { FulaError } from "../../kernel/errors.ts";
import type { Clock } from "../../kernel/clock.ts";
import type { PostgresSite, SiteSession } from "../../runtime/postgres-site.ts";
import { keepOldData } from "../postgres/leftovers.ts";
import { readMarker, removeMarker, writeMarker } from "../postgres/marker.ts";
import { runScript } from "../postgres/site-files.ts";
import { siteLayout } from "../postgres/site-layout.ts";
import type { SessionId } from "../types.ts";

// What an operator tuned belongs to the box, and the backup may be older. Each step is one that a second run finds done.
const REPLACE = `
data=$1; new=$2; old=$3
if [ -e "$new" ]; then
  for name in postgresql.conf pg_hba.conf pg_ident.conf; do
    if [ -e "$data/$name" ]; then cp -p "$data/$name" "$new/$name" && sync "$new/$name" || exit 1; fi
  done
  if [ -e "$data" ] && [ ! -e "$old" ]; then mv "$data" "$old" || exit 1; fi
  [ ! -e "$data" ] || exit 1
  mv "$new" "$data" || exit 1
fi
[ -e "$data/PG_VERSION" ] && sync "\${data%/*}"`;

/** The system identifier is what a control file begins with; nothing is there where it cannot be one. */
const SYSTEM_ID = '[ ! -s "$1/global/pg_control" ] || od -A n -t u8 -N 8 "$1/global/pg_control"';

/** Whose data lie there, in decimal; null where there are none that could be told. */
export async function readSystemId(site: PostgresSite, files: SiteSession): Promise<string | null> {
  const told = (await runScript(files, `look whose data ${site.where} are`, SYSTEM_ID, [site.dataDir])).trim();
  return /^\d{1,20}$/.test(told) ? told : null;
}

/** @throws FulaError FULA_RESTORE_RUNNING where a server runs on the data, or is being repaired */
export async function assertReplaceable(site: PostgresSite, session: SiteSession): Promise<void> {
  if ((await site.state()) === "running") {
    throw new FulaError(
      "FULA_RESTORE_RUNNING",
      `The server on ${site.where} runs; its data are not replaced under it.`,
      {
        hint: "fula-master stop, then run the command again; without --in-place it restores beside the running one.",
      },
    );
  }
  const marker = await readMarker(session, site);
  if (marker === null || marker.kind === "replace") return;
  throw new FulaError(
    "FULA_RESTORE_RUNNING",
    `${site.where} is being repaired: recovery session ${marker.session} was at "${marker.kind}" (${marker.phase}).`,
    {
      hint: "if that session does not run any more: fula-master resync. Where the data is to be given up, remove its marker first.",
    },
  );
}

/**
 * Puts restored data in the place of the server's, by renames; the old data stay beside it. The server is stopped.
 * @returns where the old data lie; they may be absent
 * @throws FulaError FULA_RECOVERY_STEP; the marker stands then, and a second run goes on
 */
export async function replaceData(
  site: PostgresSite,
  files: SiteSession,
  session: SessionId,
  clock: Clock,
): Promise<string> {
  const startedAt = formatUtc(clock.nowMs());
  await writeMarker(files, site, { session: String(session), kind: "replace", phase: "swap", startedAt });
  return await finishReplace(site, files, session);
}

/** Ends an exchange that was begun, also by a run that is gone. @returns null where none was */
export async function resumeReplace(site: PostgresSite, files: SiteSession): Promise<string | null> {
  const marker = await readMarker(files, site);
  if (marker?.kind !== "replace" || marker.phase !== "swap") return null;
  return await finishReplace(site, files, BigInt(marker.session));
}

async function finishReplace(site: PostgresSite, files: SiteSession, session: SessionId): Promise<string> {
  const layout = siteLayout(site);
  const old = layout.oldData(session);
  await keepOldData(files, site, session, "A restore in place replaced these data.");
  await runScript(files, `exchange the data of ${site.where}`, REPLACE, [site.dataDir, layout.newData(session), old]);
  await removeMarker(files, site);
  return old;
}
