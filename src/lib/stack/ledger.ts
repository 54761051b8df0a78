import type { LoadedConfig } from "../config/load.ts";
import type { Config } from "../config/schema.ts";
import type { Clock } from "../kernel/clock.ts";
import { FulaError, messageOf } from "../kernel/errors.ts";
import { type Log, silentLog } from "../kernel/log.ts";
import { type Random, systemRandom } from "../kernel/random.ts";
import type { Secret } from "../kernel/secret.ts";
import { explainDatabaseError, targetOf } from "../postgres/database-errors.ts";
import { type ConnectionOptions, createPool, type Pool } from "../postgres/pool.ts";
import { type EmbeddedPostgresOptions, ensureEmbeddedPostgres } from "../runtime/embedded-postgres.ts";
import { type PostgresState, superviseEmbeddedPostgres } from "../runtime/supervised-postgres.ts";

import { readInstallation } from "./installation.ts";

/**
 * The planner takes tables of one row, which nobody has analyzed, for thousands, and would have a statement compiled for a
 * second that takes a millisecond.
 */
const SESSION_SETTINGS: Readonly<Record<string, string>> = { jit: "off" };

/**
 * Of a process that stays, which may be paused or cut off in the middle of a credit: it keeps no account locked for long,
 * because whoever bills would wait for it.
 */
const STAYING_SETTINGS: Readonly<Record<string, string>> = {
  ...SESSION_SETTINGS,
  idle_in_transaction_session_timeout: "10000",
  tcp_user_timeout: "15000",
  tcp_keepalives_idle: "5",
  tcp_keepalives_interval: "5",
  tcp_keepalives_count: "3",
};

/** What opening the ledger needs beside the configuration. */
export interface LedgerDeps {
  readonly clock: Clock;
  readonly random?: Random;
  readonly log?: Log;
  readonly signal?: AbortSignal;
  /** Who asks, as it shows in pg_stat_activity: "serve", "migrate". Default "cli". */
  readonly part?: string;
  /** Connections at most; default `postgres.poolMax`. */
  readonly poolMax?: number;
  /** True for a process that stays: an embedded server that dies is started again. */
  readonly supervise?: boolean;
}

/** The ledger's database, reached and answering. */
export interface Ledger extends AsyncDisposable {
  readonly pool: Pool;
  readonly host: string;
  readonly port: number;
  /** How the pool connects, for sessions that are to have a connection of their own. */
  readonly connection: ConnectionOptions;
  /** State of the embedded server; null where the server is not ours to run, or is not supervised. */
  readonly serverState: () => PostgresState | null;
  /** Closes the pool, and stops an embedded server that nobody else uses. */
  close(): Promise<void>;
}

/** A server that this process runs or leans on. */
interface LedgerServer {
  readonly host: string;
  readonly port: number;
  readonly state: () => PostgresState | null;
  readonly stop: () => Promise<unknown>;
}

function requirePassword(loaded: LoadedConfig): Secret {
  const password = loaded.secrets.postgresPassword;
  if (password !== null) return password;
  throw new FulaError("FULA_NOT_JOINED", `There is no ledger yet: ${loaded.paths.envFile} has no POSTGRES_PASSWORD.`, {
    hint: "fula-master join --runtime embedded sets this box up.",
    details: { envFile: loaded.paths.envFile },
  });
}

/** The embedded server's options as the configuration has them. @throws FulaError FULA_NOT_JOINED */
function embeddedPostgresOptions(loaded: LoadedConfig, deps: LedgerDeps): EmbeddedPostgresOptions {
  const { config, paths } = loaded;
  const { binDir, runAs, port, database, user } = config.postgres;
  return {
    baseDir: paths.baseDir,
    stateDir: paths.stateDir,
    locksDir: paths.locksDir,
    logsDir: paths.logsDir,
    binDir,
    runAs,
    port,
    // serve may not run yet, and its ports may lie in the range that free ones are taken from.
    avoidPorts: [config.server.port, config.gateway.port, config.api.port],
    database,
    user,
    password: requirePassword(loaded),
    purpose: deps.part ?? "cli",
    clock: deps.clock,
    random: deps.random ?? systemRandom,
    log: deps.log ?? silentLog,
    ...(deps.signal === undefined ? {} : { signal: deps.signal }),
  };
}

async function openServer(loaded: LoadedConfig, deps: LedgerDeps): Promise<LedgerServer> {
  const { mode, host, port } = loaded.config.postgres;
  if (mode !== "embedded") return { host, port, state: () => null, stop: async () => {} };
  const installation = await readInstallation(loaded.paths.stateDir);
  const mustExist = installation?.made.includes("ledger") === true;
  const options = { ...embeddedPostgresOptions(loaded, deps), mustExist };
  if (deps.supervise === true) {
    const supervised = await superviseEmbeddedPostgres(options);
    return {
      host: supervised.host,
      port: supervised.port,
      state: () => supervised.state(),
      stop: async () => await supervised.stop(),
    };
  }
  const running = await ensureEmbeddedPostgres(options);
  return { host: running.host, port: running.port, state: () => null, stop: async () => await running.stop() };
}

async function connect(pool: Pool, signal: AbortSignal | undefined): Promise<void> {
  signal?.throwIfAborted();
  try {
    await pool.query("select 1");
  } catch (error) {
    throw explainDatabaseError(error, targetOf(pool));
  }
}

/** How connections to the ledger are encrypted; a server of our own is reached over loopback. */
export function tlsOptions({
  postgres: { mode, tls, tlsCaFile },
}: Config): Pick<ConnectionOptions, "tls" | "tlsCaFile"> {
  return mode === "external" ? { tls, tlsCaFile } : {};
}

/**
 * Opens the ledger that the configuration names: embedded = attaches to the running server or starts it, external =
 * connects. Returns when a query was answered.
 * @throws FulaError FULA_DATABASE_UNREACHABLE, FULA_DATABASE_LOGIN, FULA_NOT_JOINED, and what `ensureEmbeddedPostgres` throws
 */
export async function openLedger(loaded: LoadedConfig, deps: LedgerDeps): Promise<Ledger> {
  const { database, user, poolMax } = loaded.config.postgres;
  const password = loaded.secrets.postgresPassword;
  const server = await openServer(loaded, deps);
  const connection: ConnectionOptions = {
    host: server.host,
    port: server.port,
    database,
    user,
    ...(password === null ? {} : { password }),
    ...tlsOptions(loaded.config),
    part: deps.part ?? "cli",
    node: loaded.config.node.name,
  };
  const pool = createPool({
    ...connection,
    sessionSettings: deps.supervise === true ? STAYING_SETTINGS : SESSION_SETTINGS,
    max: deps.poolMax ?? poolMax,
    ...(deps.log === undefined ? {} : { log: deps.log }),
  });
  let closing: Promise<void> | null = null;
  const closeOnce = async (): Promise<void> => {
    try {
      await pool.end();
    } finally {
      await server.stop();
    }
  };
  const close = async (): Promise<void> => {
    closing ??= closeOnce();
    await closing;
  };
  try {
    await connect(pool, deps.signal);
  } catch (error) {
    await close();
    throw error;
  }
  const { host, port, state: serverState } = server;
  return { pool, host, port, connection, serverState, close, [Symbol.asyncDispose]: close };
}

/** Opens the ledger for the time of one callback. @throws FulaError what `openLedger` throws, and whatever `use` throws */
export async function withLedger<T>(
  loaded: LoadedConfig,
  deps: LedgerDeps,
  use: (pool: Pool, ledger: Pick<Ledger, "connection">) => Promise<T>,
): Promise<T> {
  const ledger = await openLedger(loaded, deps);
  let result: T;
  try {
    result = await use(ledger.pool, ledger);
  } catch (error) {
    // What went wrong in the callback is what the operator must read, whatever closing says.
    await ledger
      .close()
      .catch((closeError: unknown) => deps.log?.warn("ledger.close_failed", { message: messageOf(closeError) }));
    throw error;
  }
  await ledger.close();
  return result;
}
