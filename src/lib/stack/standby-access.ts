import type { LoadedConfig } from "../config/load.ts";
import type { LedgerBox } from "../membership/ledger-records.ts";
import type { Session } from "../postgres/session.ts";
import type { LedgerServer } from "../recovery/postgres/ledger-server.ts";
import { readNodeConf, writeNodeConf } from "../recovery/postgres/node-conf.ts";
import { readSiteFile, writeSiteFile } from "../recovery/postgres/site-files.ts";
import { standbyRole } from "../recovery/postgres/standby-names.ts";
import { ADMIN_ROLE } from "../runtime/postgres-cluster.ts";
import { renderHba, renderIdent, serverFiles, type StandbyLogin } from "../runtime/postgres-files.ts";
import type { PostgresSite, SiteSession } from "../runtime/postgres-site.ts";
import { installPostgresTls, siteTlsFiles } from "./postgres-tls.ts";

/** What every server of the ledger is told, whatever its role is at the moment. */
function accessSettings(
  site: Pick<PostgresSite, "rootDir">,
  { config }: Pick<LoadedConfig, "config">,
): Readonly<Record<string, string>> {
  const tls = siteTlsFiles(site);
  return {
    ssl: "on",
    ssl_ca_file: tls.ca,
    ssl_cert_file: tls.certificate,
    ssl_key_file: tls.key,
    ssl_min_protocol_version: "TLSv1.3",
    // In whole megabytes, which is the setting's unit.
    max_slot_wal_keep_size: `${Math.ceil(config.standby.slotMax / 1_048_576)}MB`,
    // A box that was cut off without a word is noticed within seconds.
    wal_sender_timeout: "10s",
    wal_receiver_timeout: "10s",
    // A change of the primary takes as long as its standbys take to come to the new one.
    wal_retrieve_retry_interval: "100ms",
  };
}

/** The logins of all boxes but this one, which other boxes' servers let in: any of them may be the primary tomorrow. */
export function loginsOf(own: string, boxes: readonly Pick<LedgerBox, "node" | "state">[]): readonly StandbyLogin[] {
  return boxes
    .filter(({ node, state }) => node !== own && state !== "leaving")
    .map(({ node }) => ({ node, role: standbyRole(node) }))
    .toSorted((a, b) => (a.node < b.node ? -1 : 1));
}

async function writeIfOther(files: SiteSession, path: string, content: string): Promise<boolean> {
  if ((await readSiteFile(files, path)) === content) return false;
  await writeSiteFile(files, path, content);
  return true;
}

/**
 * Opens this box's server to the boxes that may replicate from it, by TLS and their certificates, and closes it to those that
 * are gone. The caller has made this box's certificate; a running server takes it all at its next reload.
 * @returns true where something was changed
 * @throws FulaError FULA_RECOVERY_STEP, FULA_RECOVERY_NODE_CONF
 */
export async function writeAccess(
  files: SiteSession,
  { site, node }: Pick<LedgerServer, "site" | "node">,
  loaded: LoadedConfig,
  boxes: readonly Pick<LedgerBox, "node" | "state">[],
): Promise<boolean> {
  const others = loginsOf(node, boxes);
  const { database } = loaded.config.postgres;
  const ground = site.kind;
  // Of a process, this box's own certificate opens the superuser over loopback: a standby does not know its password.
  const own = ground === "processes" ? [{ node, role: ADMIN_ROLE }] : [];
  const { hba, ident } = serverFiles(site.rootDir);
  const tls = await installPostgresTls(files, site, loaded);
  const changed = [
    tls,
    await writeIfOther(files, ident, renderIdent([...own, ...others])),
    await writeIfOther(files, hba, renderHba(ground, { standbys: others, database, admin: ADMIN_ROLE })),
  ];
  const before = await readNodeConf(files, site);
  const settings = accessSettings(site, loaded);
  if (Object.entries(settings).some(([name, value]) => before[name] !== value)) {
    await writeNodeConf(files, site, settings);
    changed.push(true);
  }
  return changed.includes(true);
}

// What pg_rewind reads its source by (PostgreSQL manual, pg_rewind, "Notes").
const REWIND_FUNCTIONS = [
  "pg_ls_dir(text, boolean, boolean)",
  "pg_stat_file(text, boolean)",
  "pg_read_binary_file(text)",
  "pg_read_binary_file(text, bigint, bigint, boolean)",
] as const;

/**
 * Makes the roles of boxes that have none yet, on the primary: each may replicate, read what a rewind reads, and see the
 * epochs; nothing else. A role is made whole or not at all.
 * @param session as superuser, in the ledger's database
 * @returns the boxes whose role was made now
 */
export async function ensureStandbyRoles(session: Session, nodes: readonly string[]): Promise<readonly string[]> {
  const { rows } = await session.query<{ role: string }>({
    name: "standby_roles",
    text: "select rolname as role from pg_roles where rolname = any($1)",
    values: [nodes.map(standbyRole)],
  });
  const there = new Set(rows.map(({ role }) => role));
  const missing = nodes.filter((node) => !there.has(standbyRole(node)));
  for (const node of missing) {
    const role = standbyRole(node);
    const reads = REWIND_FUNCTIONS.map((signature) => `pg_catalog.${signature}`).join(", ");
    await session.client.query(`
      create role "${role}" login replication;
      grant execute on function ${reads} to "${role}";
      grant select on ledger_epochs to "${role}";
      -- Without it a box is not shown whether its own standby streams; its copy of everything tells it more than statistics do.
      grant pg_read_all_stats to "${role}"`);
  }
  return missing;
}

/** Takes the role of a box away, on the primary, with all that it was granted in this database. */
export async function dropStandbyRole(session: Session, node: string): Promise<void> {
  const role = standbyRole(node);
  const { rowCount } = await session.query({
    name: "standby_role_exists",
    text: "select 1 from pg_roles where rolname = $1",
    values: [role],
  });
  if (rowCount === 0) return;
  await session.client.query(`drop owned by "${role}"`);
  await session.client.query(`drop role "${role}"`);
}
