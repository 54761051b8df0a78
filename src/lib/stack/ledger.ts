import { isDeepStrictEqual } from "node:util";
import type { LoadedConfig } from "../config/load.ts";
import type { Clock } from "../kernel/clock.ts";
import { FulaError, messageOf } from "../kernel/errors.ts";
import { type Log, silentLog } from "../kernel/log.ts";
import { type Random, systemRandom } from "../kernel/random.ts";
import type { Secret } from "../kernel/secret.ts";
import { awaitLogin, type LatePatience } from "../postgres/late-answers.ts";
import { MovingServer } from "../postgres/moving-server.ts";
import { type ConnectionOptions, createPool, type Pool } from "../postgres/pool.ts";
import { LEDGER_SESSION, STAYING_SESSION } from "../postgres/session-settings.ts";
import { type EmbeddedPostgresOptions, ensureEmbeddedPostgres } from "../runtime/embedded-postgres.ts";
import { type PostgresState, superviseEmbeddedPostgres } from "../runtime/supervised-postgres.ts";
import { readInstallation } from "./installation.ts";
import type { FollowedEpoch } from "./ledger-epoch-file.ts";
import { assertMayServe, currentEpochs, type GateDeps } from "./ledger-gate.ts";
import { isOwnLedger, ledgerPlace, placeOnTheWayIn } from "./ledger-place.ts";
import { ownPostgres } from "./own-postgres.ts";

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
  /** True for a box that joins: what it needs to go where the epoch's primary is comes with one of the steps. */
  readonly isJoining?: boolean;
  /** Opens what the control plane knows of the ledger's servers; tests hand in others. */
  readonly openStore?: GateDeps["openStore"];
}

/** The ledger's database, reached and answering. */
export interface Ledger extends AsyncDisposable {
  readonly pool: Pool;
  readonly host: string;
  readonly port: number;
  /** How the pool connects, for sessions that are to have a connection of their own. */
  readonly connection: ConnectionOptions;
  /** State of the embedded server; null where the server is not ours to run, is not supervised, or has not the ledger. */
  readonly serverState: () => PostgresState | null;
  /**
   * Moves every connection to the primary of an epoch, in sessions that mean that epoch.
   * @param now the settings as they are by now: a box may have been given its server after the ledger was opened
   */
  readonly goTo: (epoch: FollowedEpoch, now: LoadedConfig) => void;
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
  const { binDir, runAs, announce, listen, database, user } = config.postgres;
  return {
    baseDir: paths.baseDir,
    stateDir: paths.stateDir,
    locksDir: paths.locksDir,
    logsDir: paths.logsDir,
    binDir,
    runAs,
    port: ownPostgres(config)?.port ?? config.postgres.port,
    listen: announce === null ? null : listen,
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

/** The server of this box that the ledger is on, as far as it may be used: an embedded one is attached to or started. */
async function openOwn(loaded: LoadedConfig, deps: LedgerDeps): Promise<LedgerServer> {
  const { mode, host, port } = loaded.config.postgres;
  const permit = async (): Promise<void> => {
    await assertMayServe(loaded, gateDeps(deps), deps.supervise === true);
  };
  if (mode !== "embedded") {
    await permit();
    return { ...(ownPostgres(loaded.config) ?? { host, port }), state: () => null, stop: async () => {} };
  }
  const installation = await readInstallation(loaded.paths.stateDir);
  const mustExist = installation?.made.includes("ledger") === true;
  const options = { ...embeddedPostgresOptions(loaded, deps), mustExist, permit };
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

function gateDeps({ clock, random = systemRandom, log = silentLog, signal, openStore }: LedgerDeps): GateDeps {
  return { clock, random, log, signal: signal ?? new AbortController().signal, ...(openStore && { openStore }) };
}

/** Whoever asks for one answer is told soon that there is none. */
const LOGIN_PATIENCE_MS = 15_000;

/** How long joining waits for a database that has just been started, on a box that starts everything else, too. */
export const JOIN_LOGIN_PATIENCE_MS = 60_000;

function patienceOf({ clock, supervise, isJoining }: LedgerDeps): LatePatience | null {
  // `serve` waits by itself, and tells meanwhile for what.
  if (supervise === true) return null;
  return { clock, patienceMs: isJoining === true ? JOIN_LOGIN_PATIENCE_MS : LOGIN_PATIENCE_MS };
}

/**
 * Opens the ledger: by the settings (embedded = attaches to the running server or starts it, external = connects) while it has
 * never had a second server, else where its primary is. Returns when a query was answered.
 * @throws FulaError FULA_DATABASE_UNREACHABLE, FULA_DATABASE_LOGIN, FULA_NOT_JOINED, FULA_EPOCH_ROLLED_BACK, FULA_LEDGER_FENCED,
 *   and what `ensureEmbeddedPostgres` throws
 */
export async function openLedger(loaded: LoadedConfig, deps: LedgerDeps): Promise<Ledger> {
  const { database, user, poolMax } = loaded.config.postgres;
  const password = loaded.secrets.postgresPassword;
  const known = await currentEpochs(loaded, gateDeps(deps));
  const followed = known?.followed ?? null;
  const own = isOwnLedger(loaded, followed) ? await openOwn(loaded, deps) : null;
  const placeOf = deps.isJoining === true ? placeOnTheWayIn : ledgerPlace;
  const follow = new MovingServer(await placeOf(loaded, followed, own));
  const { host, port } = follow.place;
  const connection: ConnectionOptions = {
    host,
    port,
    database,
    user,
    ...(password === null ? {} : { password }),
    follow,
    part: deps.part ?? "cli",
    node: loaded.config.node.name,
  };
  const pool = createPool({
    ...connection,
    sessionSettings: deps.supervise === true ? STAYING_SESSION : LEDGER_SESSION,
    max: deps.poolMax ?? poolMax,
    ...(deps.log === undefined ? {} : { log: deps.log }),
  });
  let closing: Promise<void> | null = null;
  const closeOnce = async (): Promise<void> => {
    try {
      await pool.end();
    } finally {
      await own?.stop();
    }
  };
  const close = async (): Promise<void> => {
    closing ??= closeOnce();
    await closing;
  };
  try {
    await awaitLogin(pool, patienceOf(deps), deps.signal);
  } catch (error) {
    await close();
    throw error;
  }
  const goTo = (next: FollowedEpoch, now: LoadedConfig): void => {
    const place = ledgerPlace(now, next, own);
    if (!isDeepStrictEqual(place, follow.place)) follow.move(place);
  };
  // A server of this box says how it is only while the ledger is on it.
  const serverState = (): PostgresState | null =>
    own !== null && follow.place.host === own.host && follow.place.port === own.port ? own.state() : null;
  return { pool, host, port, connection, serverState, goTo, close, [Symbol.asyncDispose]: close };
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
