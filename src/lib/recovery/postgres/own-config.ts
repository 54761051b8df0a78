import type { PostgresSite, SiteSession } from "../../runtime/postgres-site.ts";
import { runScript } from "./site-files.ts";

/**
 * Configuration within a data directory that belongs to its box: what an operator tuned. A rewind and a base backup bring
 * that of the primary's box.
 */
const OWN_FILES = "postgresql.conf pg_hba.conf pg_ident.conf";

const KEEP = `
umask 077
# A session that was cut off kept them: what stands in the data directory since may be another box's.
[ -d "$2" ] && exit 0
rm -rf "$2.tmp" && mkdir "$2.tmp" || exit 1
for name in ${OWN_FILES}; do if [ -e "$1/$name" ]; then cp -p "$1/$name" "$2.tmp/" && sync "$2.tmp/$name" || exit 1; fi; done
sync "$2.tmp" && mv "$2.tmp" "$2" && sync "\${2%/*}"`;

// What is not a box's own any more: signals and settings of whom the data came from.
const RESTORE = `
umask 077
if [ -d "$2" ]; then
  for name in ${OWN_FILES}; do if [ -e "$2/$name" ]; then cp -p "$2/$name" "$1/$name" && sync "$1/$name" || exit 1; fi; done
fi
rm -f "$1/recovery.signal" "$1/postmaster.pid" && : >"$1/postgresql.auto.conf" && : >"$1/standby.signal" &&
  sync "$1/postgresql.auto.conf" "$1/standby.signal" "$1" && rm -rf "$2"`;

function keptDir({ rootDir }: Pick<PostgresSite, "rootDir">): string {
  return `${rootDir}/conf.kept`;
}

/** Keeps this box's configuration aside. @throws FulaError FULA_RECOVERY_STEP */
export async function keepOwnConfig(files: SiteSession, site: PostgresSite): Promise<void> {
  await runScript(files, "keep the configuration", KEEP, [site.dataDir, keptDir(site)]);
}

/** Lets go of what was kept: the data directory was not rewritten. @throws FulaError FULA_RECOVERY_STEP */
export async function forgetOwnConfig(files: SiteSession, site: PostgresSite): Promise<void> {
  await runScript(files, "forget the configuration", 'rm -rf "$1" "$1.tmp"', [keptDir(site)]);
}

/**
 * Gives a data directory that came from elsewhere this box's configuration, and makes it a standby's.
 * @param dir the directory; default: the server's
 * @throws FulaError FULA_RECOVERY_STEP
 */
export async function restoreOwnConfig(
  files: SiteSession,
  site: PostgresSite,
  dir: string = site.dataDir,
): Promise<void> {
  await runScript(files, "bring the configuration back", RESTORE, [dir, keptDir(site)]);
}
