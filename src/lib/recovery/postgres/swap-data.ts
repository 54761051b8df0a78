import type { SiteSession } from "../../runtime/postgres-site.ts";
import { removeMarker } from "./marker.ts";
import { keepOwnConfig, restoreOwnConfig } from "./own-config.ts";
import type { LedgerServer } from "./ledger-server.ts";
import type { ReplicaWork } from "./replica-work.ts";
import { runScript } from "./site-files.ts";
import { siteLayout } from "./site-layout.ts";
import { mark } from "./take-server.ts";
import type { SessionId } from "../types.ts";

// Each step is one that a second run finds done.
const SWAP = `
data=$1; new=$2; old=$3
if [ -e "$new" ]; then
  if [ -e "$data" ] && [ ! -e "$old" ]; then mv "$data" "$old" || exit 1; fi
  [ ! -e "$data" ] || exit 1
  mv "$new" "$data" || exit 1
fi
[ -e "$data/PG_VERSION" ] && sync "\${data%/*}"`;

/**
 * Puts a whole, verified data directory in the place of the server's, by renames: the old one stays beside it until the new
 * one is in sync. The server is stopped.
 * @throws FulaError FULA_RECOVERY_STEP; the marker stands then, and `finishSwap` goes on
 */
export async function swapData(work: ReplicaWork, files: SiteSession): Promise<void> {
  const { server, session } = work;
  const { site } = server;
  await keepOwnConfig(files, site);
  await restoreOwnConfig(files, site, siteLayout(site).newData(session));
  await mark(work, files, "full_base", "swap");
  await finishSwap(server, files, session);
}

/** Ends an exchange that was begun, also by a session that is gone. @throws FulaError FULA_RECOVERY_STEP */
export async function finishSwap({ site }: LedgerServer, files: SiteSession, session: SessionId): Promise<void> {
  const layout = siteLayout(site);
  await runScript(files, `exchange the data of ${site.where}`, SWAP, [
    site.dataDir,
    layout.newData(session),
    layout.oldData(session),
  ]);
  await removeMarker(files, site);
}
