import { chown, open } from "node:fs/promises";
import { posix } from "node:path";
import { exists, fsyncDir, readTextIfExists } from "../kernel/files.ts";
import type { SystemUser } from "./postgres-user.ts";

/**
 * The configuration of a server, which lies beside its data directory: a base backup and a rewind replace that, and would
 * bring another box's along.
 */
export interface ServerFiles {
  /** Named on the server's command line; it reads the others in. */
  readonly serverConf: string;
  readonly nodeConf: string;
  readonly hba: string;
  readonly ident: string;
}

/** Where they lie. */
export function serverFiles(rootDir: string): ServerFiles {
  const at = (name: string): string => posix.join(rootDir, name);
  return {
    serverConf: at("server.conf"),
    nodeConf: at("node.conf"),
    hba: at("pg_hba.conf"),
    ident: at("pg_ident.conf"),
  };
}

/** Name of the map from what a client certificate says to the role of its box. */
const IDENT_MAP = "fula";

/** Who may log in: how the server is reached decides for those of this box, TLS and a certificate for other boxes. */
export type ServerGround = "processes" | "container";

/** A box that replicates from this one: the name in its certificate, and its role. */
export interface StandbyLogin {
  readonly node: string;
  readonly role: string;
}

const HEADER = "# Written by fula-master, and written anew whenever something of it changes.\n";

// Base backups come over the replication protocol. Of a container, all of the host's own connections come from the bridge's gateway, which is in the container's network.
const OWN_LINES: Readonly<Record<ServerGround, readonly string[]>> = {
  processes: ["host all,replication all 127.0.0.1/32 scram-sha-256"],
  container: [
    "local all all trust",
    "host all,replication all 127.0.0.1/32 scram-sha-256",
    "host all,replication all ::1/128 scram-sha-256",
    "host all,replication all samenet scram-sha-256",
  ],
};

/** Whom a server lets in that other boxes reach by TLS. */
export interface RemoteAccess {
  /** Boxes that replicate. */
  readonly standbys: readonly StandbyLogin[];
  /** The ledger's database. */
  readonly database: string;
  /** The superuser of a server that runs as processes. */
  readonly admin: string;
}

/**
 * Who may log in, first match first. A standby's role has no password: it comes with its box's certificate, over TLS.
 * @param remote null where no other box reaches this server
 */
export function renderHba(ground: ServerGround, remote: RemoteAccess | null): string {
  const lines = [...OWN_LINES[ground]];
  if (remote !== null) {
    const { standbys, database, admin } = remote;
    const roles = standbys.flatMap(({ role }) => [
      `hostssl replication,postgres,"${database}" "${role}" all cert map=${IDENT_MAP}`,
      `host all "${role}" all reject`,
    ]);
    const own = ground === "processes" ? [`hostssl all "${admin}" 127.0.0.1/32 cert map=${IDENT_MAP}`] : [];
    lines.unshift(...own, ...roles);
    // A server without TLS would complain of such a line at each start.
    lines.push("hostssl all all all scram-sha-256");
  }
  return `${HEADER}${lines.join("\n")}\n`;
}

/** Which certificate may take which role. */
export function renderIdent(standbys: readonly StandbyLogin[]): string {
  return `${HEADER}${standbys.map(({ node, role }) => `${IDENT_MAP} "${node}" "${role}"\n`).join("")}`;
}

function quoted(path: string): string {
  return `'${path.replaceAll("\\", "\\\\").replaceAll("'", "''")}'`;
}

const EVERYWHERE: ReadonlySet<string> = new Set(["0.0.0.0", "::"]);

/**
 * What the command line names.
 * @param listen address for other boxes, beside loopback; null = none
 */
function renderServerConf(rootDir: string, listen: string | null): string {
  const { hba, ident, nodeConf } = serverFiles(rootDir);
  const addresses = listen === null ? "127.0.0.1" : EVERYWHERE.has(listen) ? listen : `127.0.0.1,${listen}`;
  return `${HEADER}# Settings of your own belong into postgresql.conf of the data directory.
include_if_exists = ${quoted(posix.join(rootDir, "data", "postgresql.conf"))}
listen_addresses = '${addresses}'
hba_file = ${quoted(hba)}
ident_file = ${quoted(ident)}
# Without hints in the log, pg_rewind could not tell which pages a server changed that went its own way.
wal_log_hints = on
include_if_exists = ${quoted(nodeConf)}
`;
}

async function writeFor(path: string, content: string, user: SystemUser): Promise<void> {
  const handle = await open(path, "w", 0o600);
  try {
    await handle.chown(user.uid, user.gid);
    await handle.writeFile(content);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/**
 * Makes the files of a server that is a process of this box where they are missing. Its user may write beside its data
 * directory, as recovery does.
 */
export async function ensureServerFiles(rootDir: string, user: SystemUser, listen: string | null): Promise<void> {
  const { serverConf, hba, ident } = serverFiles(rootDir);
  await chown(rootDir, user.uid, user.gid);
  if (!(await exists(hba))) await writeFor(hba, renderHba("processes", null), user);
  if (!(await exists(ident))) await writeFor(ident, renderIdent([]), user);
  const wanted = renderServerConf(rootDir, listen);
  if ((await readTextIfExists(serverConf)) !== wanted) await writeFor(serverConf, wanted, user);
  await fsyncDir(rootDir);
}
