import { readFile } from "node:fs/promises";
import { join, posix } from "node:path";
import type { LoadedConfig } from "../config/load.ts";
import type { Clock } from "../kernel/clock.ts";
import { readSiteFile, runScript, writeSiteFile } from "../recovery/postgres/site-files.ts";
import type { PostgresSite, SiteSession } from "../runtime/postgres-site.ts";
import { controlPlaneKeyFiles, ensureCertificate } from "./control-plane-keys.ts";
import { announcedAddress } from "./own-postgres.ts";

/** PEM files of one box, with which its PostgreSQL and those of the other masters know one another. */
export interface PostgresTlsFiles {
  /** Those who may vouch for a box: the federation's authority. */
  readonly ca: string;
  /** What this box shows, as a server and as a client. */
  readonly certificate: string;
  readonly key: string;
}

const LOOPBACK = "127.0.0.1";

/** The files in `keys/`, for this process. */
export function postgresTlsFiles(keysDir: string): PostgresTlsFiles {
  return {
    ca: controlPlaneKeyFiles(keysDir).ca,
    certificate: join(keysDir, "postgres.pem"),
    key: join(keysDir, "postgres.key.pem"),
  };
}

/** The copies beside a server's data directory, as the server and the programs of its site see them. */
export function siteTlsFiles({ rootDir }: Pick<PostgresSite, "rootDir">): PostgresTlsFiles {
  const at = (name: string): string => posix.join(rootDir, "tls", name);
  return { ca: at("ca.pem"), certificate: at("node.pem"), key: at("node.key.pem") };
}

/**
 * Makes the certificate of this box's PostgreSQL where there is none, or the one that is there will not do.
 * @returns why it was made, or with `dryRun` would be; null where not
 * @throws FulaError FULA_CONTROL_PLANE_KEYS where the federation's authority is missing or cannot be used
 */
export async function ensurePostgresCertificate(
  { config, paths }: Pick<LoadedConfig, "config" | "paths">,
  clock: Clock,
  options: { readonly dryRun?: boolean } = {},
): Promise<string | null> {
  const { name, announce } = config.node;
  const reached = config.postgres.announce === null ? [] : [announcedAddress(config.postgres.announce).host];
  const names = [...new Set([name, ...(announce === null ? [] : [announce]), ...reached, LOOPBACK])];
  return await ensureCertificate(paths.keysDir, postgresTlsFiles(paths.keysDir), { name, names }, clock, options);
}

/**
 * Copies authority, certificate and key to where this box's server reads them. A running server takes them at its next
 * reload.
 * @returns true where something was other than it should be
 * @throws FulaError FULA_RECOVERY_STEP
 */
export async function installPostgresTls(
  files: SiteSession,
  site: PostgresSite,
  { paths }: Pick<LoadedConfig, "paths">,
): Promise<boolean> {
  const [own, there] = [postgresTlsFiles(paths.keysDir), siteTlsFiles(site)];
  const wanted = [
    [there.ca, await readFile(own.ca, "utf8")],
    [there.certificate, await readFile(own.certificate, "utf8")],
    [there.key, await readFile(own.key, "utf8")],
  ] as const;
  const found = await Promise.all(wanted.map(async ([path]) => await readTlsFile(files, site, path)));
  const stale = wanted.filter(([, content], index) => found[index] !== content);
  if (stale.length === 0) return false;
  await runScript(files, "make the directory of certificates", 'umask 077; mkdir -p "$1"', [posix.dirname(there.ca)]);
  for (const [path, content] of stale) await writeSiteFile(files, path, content);
  return true;
}

/** The directory may not be there yet, which `readSiteFile` takes for an error. */
async function readTlsFile(files: SiteSession, site: PostgresSite, path: string): Promise<string | null> {
  const listed = await runScript(files, "look for certificates", 'ls "$1"', [site.rootDir]);
  return listed.split("\n").includes("tls") ? await readSiteFile(files, path) : null;
}
