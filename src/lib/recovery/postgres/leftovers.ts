import { FulaError } from "../../kernel/errors.ts";
import type { PostgresSite, SiteSession } from "../../runtime/postgres-site.ts";
import type { SessionId } from "../types.ts";
import type { LedgerServer } from "./ledger-server.ts";
import { type Marker, readMarker, removeMarker } from "./marker.ts";
import { forgetOwnConfig } from "./own-config.ts";
import { UNFINISHED } from "./salvage.ts";
import { runScript, writeSiteFile } from "./site-files.ts";
import { siteLayout } from "./site-layout.ts";
import { finishSwap } from "./swap-data.ts";
import { undoTruncation } from "./truncate.ts";

const REMOVE_NEW = `rm -rf "$1"/data.new.* "$1"/wal.new.* "$1"/salvage/*/*${UNFINISHED}`;
const STAY_STANDBY = '[ ! -e "$1/PG_VERSION" ] || { : >"$1/standby.signal" && sync "$1/standby.signal" "$1"; }';
// What somebody has to look at has a note beside it, and stays. Prints what is left.
const REMOVE_OLD = `
for old in "$1"/data.old.*; do
  case "$old" in *.keep | *'*') continue ;; esac
  if [ -e "$old.keep" ]; then echo "\${old##*/}"; else rm -rf "$old"; fi
done`;
const REMOVE_NOTES = 'for note in "$1"/data.old.*.keep; do [ -e "${note%.keep}" ] || rm -f "$note"; done';

/**
 * Notes, durably, that the data which a session replaces are not to be removed when the new ones are in sync: they may be the
 * only ones of their kind.
 */
export async function keepOldData(
  files: SiteSession,
  site: Pick<PostgresSite, "rootDir">,
  session: SessionId,
  because: string,
): Promise<void> {
  await writeSiteFile(files, `${siteLayout(site).oldData(session)}.keep`, `${because}\n`);
}

/**
 * Refuses where a restore in place was cut off while it exchanged the directories: what it replaces is for its operator, and
 * what it restored is no copy of the primary.
 * @returns any other marker that stands there
 * @throws FulaError FULA_RECOVERY_MARKER
 */
export async function assertNoReplacement(files: SiteSession, site: PostgresSite): Promise<Marker | null> {
  const marker = await readMarker(files, site);
  if (marker?.kind !== "replace") return marker;
  throw new FulaError(
    "FULA_RECOVERY_MARKER",
    `A restore in place was cut off at ${site.where} since ${marker.startedAt}, while it exchanged the data.`,
    {
      hint: "fula-master backup restore --in-place, as it was given then: it goes on from there. After that, run this command again.",
      details: { session: marker.session, kind: marker.kind, phase: marker.phase },
    },
  );
}

/** What a dead session left that changes the data when it is put right: how they stand to the primary is known only then. */
export type Unsettled = "truncation" | "exchange";

/** What `settleLeftovers` would do to the data first, by their marker; null for nothing. */
export function unsettledBy(marker: Marker | null): Unsettled | null {
  if (marker?.phase === "swap") return "exchange";
  return marker?.phase === "write" && marker.kind === "truncate" ? "truncation" : null;
}

/**
 * Puts right what a session left that is gone: an exchange of directories is ended, WAL that was taken out is brought back,
 * and half a copy is removed. Only for whoever holds the recovery session of this box.
 * @returns the marker of what cannot be put right: the data may be half rewritten
 * @throws FulaError FULA_RECOVERY_STEP; FULA_RECOVERY_MARKER where it is a restore in place that was cut off
 */
export async function settleLeftovers(files: SiteSession, server: LedgerServer): Promise<Marker | null> {
  const { site, log } = server;
  const marker = await assertNoReplacement(files, site);
  if (marker !== null) log.warn("recovery.interrupted", { ...marker });
  if (marker?.phase === "swap") await finishSwap(server, files, BigInt(marker.session));
  await runScript(files, "remove half copies", REMOVE_NEW, [site.rootDir]);
  if (marker !== null && marker.phase === "write" && marker.kind !== "truncate") return marker;
  await forgetOwnConfig(files, site);
  if (marker === null || marker.phase === "swap") return null;
  if (marker.kind === "truncate") await undoTruncation({ server }, files, BigInt(marker.session));
  else {
    // It may have been killed while the server recovered by itself, which is as no standby.
    await runScript(files, `make ${site.where} a standby`, STAY_STANDBY, [site.dataDir]);
    await removeMarker(files, site);
  }
  return null;
}

/**
 * Removes the data that a new copy replaced, once that is in sync, but for those that were noted to be kept.
 * @returns the names of those, this session's and earlier ones'
 * @throws FulaError FULA_RECOVERY_STEP
 */
export async function removeOldData(files: SiteSession, { site }: LedgerServer): Promise<readonly string[]> {
  await runScript(files, "forget what is gone", REMOVE_NOTES, [site.rootDir]);
  const left = await runScript(files, "remove the old data", REMOVE_OLD, [site.rootDir]);
  return left.split("\n").filter((name) => name !== "");
}
