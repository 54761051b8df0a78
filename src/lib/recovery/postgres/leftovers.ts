import type { SiteSession } from "../../runtime/postgres-site.ts";
import type { LedgerServer } from "./ledger-server.ts";
import { type Marker, readMarker, removeMarker } from "./marker.ts";
import { forgetOwnConfig } from "./own-config.ts";
import { UNFINISHED } from "./salvage.ts";
import { runScript } from "./site-files.ts";
import { finishSwap } from "./swap-data.ts";
import { undoTruncation } from "./truncate.ts";

const REMOVE_NEW = `rm -rf "$1"/data.new.* "$1"/salvage/*/*${UNFINISHED}`;
const REMOVE_OLD = 'rm -rf "$1"/data.old.*';

/**
 * Puts right what a session left that is gone: an exchange of directories is ended, WAL that was taken out is brought back,
 * and half a copy is removed. Only for whoever holds the recovery session of this box.
 * @returns the marker of what cannot be put right: the data may be half rewritten
 * @throws FulaError FULA_RECOVERY_STEP
 */
export async function settleLeftovers(files: SiteSession, server: LedgerServer): Promise<Marker | null> {
  const { site, log } = server;
  const marker = await readMarker(files, site);
  if (marker !== null) log.warn("recovery.interrupted", { ...marker });
  if (marker?.phase === "swap") await finishSwap(server, files, BigInt(marker.session));
  await runScript(files, "remove half copies", REMOVE_NEW, [site.rootDir]);
  if (marker !== null && marker.phase === "write" && marker.kind !== "truncate") return marker;
  await forgetOwnConfig(files, site);
  if (marker === null || marker.phase === "swap") return null;
  if (marker.kind === "truncate") await undoTruncation({ server }, files, BigInt(marker.session));
  else await removeMarker(files, site);
  return null;
}

/** Removes the data that a new copy replaced, once that is in sync. @throws FulaError FULA_RECOVERY_STEP */
export async function removeOldData(files: SiteSession, { site }: LedgerServer): Promise<void> {
  await runScript(files, "remove the old data", REMOVE_OLD, [site.rootDir]);
}
