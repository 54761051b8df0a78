import { readFileSync } from "node:fs";
import { Client, type ClientBase, type ClientConfig, Pool, types, type PoolClient, type PoolConfig } from "pg";
import { assert } from "../kernel/assert.ts";
import { FulaError, messageOf } from "../kernel/errors.ts";
import { type Log, silentLog } from "../kernel/log.ts";
import { Secret } from "../kernel/secret.ts";
import { cutConnection } from "./cut-connection.ts";
import type { MovingServer } from "./moving-server.ts";
import { failUnreplicatedCommits } from "./sync-wait.ts";

export type { Pool, PoolClient } from "pg";

/** How long a new connection may take before the server counts as unreachable. */
const CONNECT_TIMEOUT_MS = 5_000;
/** First TCP keepalive probe; a half-open connection is noticed within minutes instead of hours. */
const KEEPALIVE_DELAY_MS = 10_000;
/** PostgreSQL cuts application_name at NAMEDATALEN - 1 bytes. */
const APPLICATION_NAME_BYTES_MAX = 63;

/** TLS towards the server: `require` encrypts without checking who answers, `verify-full` checks the certificate. */
export type TlsMode = "disable" | "require" | "verify-full";

/** Where a database is and who asks: what a pool and a session of its own have in common. */
export interface ConnectionOptions {
  /** Host name, address, or the directory of a unix socket. */
  readonly host: string;
  readonly port: number;
  readonly database: string;
  readonly user: string;
  readonly password?: Secret | string;
  readonly tls?: TlsMode;
  /** PEM file of the authorities that a server's certificate is checked against; else those that Node.js trusts. */
  readonly tlsCaFile?: string | null;
  /** PEM files of a certificate and its key, for a role that logs in with one. */
  readonly tlsCertificate?: { readonly certFile: string; readonly keyFile: string };
  /** What of fula-master connects: "serve", "migrate". */
  readonly part: string;
  /** The node's name. */
  readonly node: string;
  readonly connectTimeoutMs?: number;
  /** A statement without an answer for so long fails here, whatever the server does; undefined = no limit. */
  readonly queryTimeoutMs?: number;
  /**
   * Settings of the server for each session, such as `lock_timeout`; those that it does not know are left out. Null tells the
   * server nothing at all, also not the epoch: whoever opens the session does so later.
   */
  readonly sessionSettings?: Readonly<Record<string, string>> | null;
  /** The epoch of the ledger that its sessions mean, as `<number>:<uuid>`, or `unchecked`; missing or null says nothing. */
  readonly ledgerEpoch?: string | null;
  /** Where the server is by now: it takes the place of host, port and TLS, and says the epoch where `ledgerEpoch` does not. */
  readonly follow?: MovingServer;
}

/** The same for whoever names its connections itself. */
export type ConnectionTarget = Omit<ConnectionOptions, "part" | "node">;

/** A pool's connections. */
export interface PoolOptions extends ConnectionOptions {
  /** Connections at most. Default 10. */
  readonly max?: number;
  /** A statement that runs longer is cancelled by the server; 0 or undefined = no limit. */
  readonly statementTimeoutMs?: number;
  readonly log?: Log;
}

/**
 * The name under which a connection shows in pg_stat_activity: `fula-master/<part>@<node>`, always set, so that a fence
 * check can count our sessions. Printable ASCII and at most 63 bytes, which is what the server keeps.
 */
export function applicationName(part: string, node: string): string {
  return `fula-master/${part}@${node}`.replaceAll(/[^\u0020-\u007e]/g, "?").slice(0, APPLICATION_NAME_BYTES_MAX);
}

// int8 and numeric, as in pg_type.
const EXACT_OIDS: ReadonlySet<number> = new Set([20, 1700]);

// Pinned per pool: a library that calls `pg.types.setTypeParser` must not turn our bigint and numeric into floats.
const EXACT_TYPES: NonNullable<PoolConfig["types"]> = {
  getTypeParser: (oid: number, format: "text" | "binary" = "text") =>
    EXACT_OIDS.has(oid) && format === "text"
      ? (text: string) => text
      : // oxlint-disable-next-line typescript/no-unsafe-enum-assignment -- the server may send any OID; the enum lists the built-in ones
        types.getTypeParser(oid, format),
};

/** Where the authorities of a pool's TLS came from: pg_dump takes the file, not its content. */
const CA_FILES = new WeakMap<object, string>();

function tlsConfig(
  { tls, tlsCaFile }: Pick<ConnectionOptions, "tls" | "tlsCaFile">,
  own: ConnectionOptions["tlsCertificate"],
): PoolConfig["ssl"] {
  if (tls === undefined || tls === "disable") return false;
  const shown =
    own === undefined ? {} : { cert: readFileSync(own.certFile, "utf8"), key: readFileSync(own.keyFile, "utf8") };
  const config = { rejectUnauthorized: tls === "verify-full", ...shown };
  if (tlsCaFile === undefined || tlsCaFile === null) return config;
  try {
    const withCa = { ...config, ca: readFileSync(tlsCaFile, "utf8") };
    CA_FILES.set(withCa, tlsCaFile);
    return withCa;
  } catch (cause) {
    throw new FulaError(
      "FULA_CONFIG_READ",
      `The PostgreSQL server's authorities cannot be read: ${messageOf(cause)}.`,
      {
        cause,
        hint: "postgres.tlsCaFile must name a PEM file that this user may read.",
        details: { path: tlsCaFile },
      },
    );
  }
}

/** The environment that makes libpq's programs use the same TLS as this pool. */
export function tlsEnvironment(pool: Pool): Record<string, string> {
  const { ssl } = pool.options;
  if (typeof ssl !== "object") return {};
  const caFile = CA_FILES.get(ssl);
  return {
    PGSSLMODE: ssl.rejectUnauthorized === true ? "verify-full" : "require",
    ...(caFile === undefined ? {} : { PGSSLROOTCERT: caFile }),
  };
}

/** The part of it that changes where the server moves. */
function placeConfig(options: ConnectionOptions): Pick<ClientConfig, "host" | "port" | "ssl"> {
  const place = options.follow?.place ?? options;
  return { host: place.host, port: place.port, ssl: tlsConfig(place, options.tlsCertificate) ?? false };
}

/**
 * What pg needs to connect: address, password, TLS, name and types, the same for pools and single sessions.
 * @throws FulaError FULA_CONFIG_READ where the file of `tlsCaFile` cannot be read
 */
export function connectionConfig(options: ConnectionOptions): ClientConfig {
  const { password, queryTimeoutMs } = options;
  return {
    ...placeConfig(options),
    database: options.database,
    user: options.user,
    ...(password === undefined ? {} : { password: password instanceof Secret ? password.reveal() : password }),
    application_name: applicationName(options.part, options.node),
    connectionTimeoutMillis: options.connectTimeoutMs ?? CONNECT_TIMEOUT_MS,
    keepAlive: true,
    keepAliveInitialDelayMillis: KEEPALIVE_DELAY_MS,
    types: EXACT_TYPES,
    ...(queryTimeoutMs === undefined ? {} : { query_timeout: queryTimeoutMs }),
  };
}

/** What is said to the server at the beginning of a session. */
export type SessionWords = Pick<ConnectionOptions, "sessionSettings" | "ledgerEpoch" | "follow">;

/**
 * A role or database may have been told to hear errors alone; then a commit that did not wait for its standbys would count as
 * done: the server says it by a warning.
 */
const HEARING: Readonly<Record<string, string>> = { client_min_messages: "notice" };

/**
 * Makes settings and epoch hold for the session. Not by startup parameters: poolers refuse those that they do not know, and
 * the server those that are newer than it.
 */
export async function applySessionSettings(client: Pick<ClientBase, "query">, words: SessionWords): Promise<void> {
  const { sessionSettings, ledgerEpoch, follow } = words;
  if (sessionSettings === null) return;
  const settings = { ...HEARING, ...sessionSettings };
  const epoch = ledgerEpoch ?? follow?.place.ledgerEpoch ?? null;
  await client.query(
    `select set_config(s.name, wanted.value, false)
       from unnest($1::text[], $2::text[]) as wanted (name, value) join pg_settings s on s.name = wanted.name
     union all select set_config('fula.ledger_epoch', $3::text, false) where $3::text is not null`,
    [Object.keys(settings), Object.values(settings), epoch],
  );
}

const MOVED = "the ledger has moved to another server";

/** What to throw where a new connection is to a server that is the wrong one by now; it counts as a lost connection. */
function movedAway(): Error {
  return new Error(`Connection terminated: ${MOVED}`);
}

/** Cuts every connection of a pool when the server moves, and has the pool open new ones where it is then. */
function moveAlong(pool: Pool, options: PoolOptions, follow: MovingServer, clients: ReadonlySet<Client>): void {
  const following = follow.follow(() => {
    if (pool.ended) {
      following[Symbol.dispose]();
      return;
    }
    Object.assign(pool.options, placeConfig(options));
    for (const client of clients) cutConnection(client, MOVED);
  });
}

/**
 * A client that hangs up where it cannot log in, such as without a password: pg leaves the connection open, and for the
 * minute that the server waits for the rest of the login nobody on that server can drop a database.
 */
class HangingUpClient extends Client {
  constructor(config?: ClientConfig) {
    super(config);
    this.connection.on("error", () => {
      this.connection.stream.destroy();
    });
  }
}

/**
 * Creates a pool; nothing is connected until the first query. `bigint` and `numeric` arrive as strings. A connection
 * that drops, idle or checked out, is logged and replaced; it never ends the process.
 * @throws FulaError FULA_CONFIG_READ where the file of `tlsCaFile` cannot be read
 */
export function createPool(options: PoolOptions): Pool {
  const log = options.log ?? silentLog;
  const { follow } = options;
  const clients = new Set<Client>();
  const pool = new Pool({
    ...connectionConfig(options),
    Client: HangingUpClient,
    max: options.max ?? 10,
    ...(options.statementTimeoutMs === undefined ? {} : { statement_timeout: options.statementTimeoutMs }),
    onConnect: async (client: ClientBase): Promise<void> => {
      assert(client instanceof Client, "a pool of pg has clients of pg");
      const { host, port } = pool.options;
      // It was connected to what the options said then.
      if (client.host !== host || client.port !== port) throw movedAway();
      clients.add(client);
      await applySessionSettings(client, options);
    },
  });
  const onLost = (error: Error): void => {
    log.warn("postgres.connection.lost", { message: error.message });
  };
  pool.on("error", onLost);
  // The pool listens only to idle clients. Without this a connection that drops while checked out raises an unhandled
  // 'error' event and kills the process; whoever holds the client learns of it by its next query, which rejects.
  pool.on("connect", (client: PoolClient) => {
    client.on("error", onLost);
    failUnreplicatedCommits(client);
  });
  pool.on("remove", (client: PoolClient) => {
    clients.delete(client);
  });
  if (follow !== undefined) moveAlong(pool, options, follow, clients);
  return pool;
}
