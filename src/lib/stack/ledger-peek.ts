import type { LoadedConfig } from "../config/load.ts";
import { awaitLogin, type LatePatience } from "../postgres/late-answers.ts";
import { createPool, type Pool, type PoolClient } from "../postgres/pool.ts";
import { inspectEmbeddedPostgres } from "../runtime/embedded-postgres.ts";
import { LOOPBACK } from "../runtime/postgres-server.ts";
import { readKnownEpochs } from "./ledger-epoch-file.ts";
import { isOwnLedger, placeOnTheWayIn } from "./ledger-place.ts";

/** How long a look may take: an operator waits for it. */
const LOOK_TIMEOUT_MS = 7_000;

/**
 * Lends the ledger as it runs at this moment: starts no server, becomes no user of it, writes nothing.
 * @param signal cuts the connection, for a server that took it and says nothing any more
 * @param patience for how long a server that has not let us in yet is asked again; default: asked once
 * @returns null where the embedded server does not run
 * @throws FulaError FULA_DATABASE_UNREACHABLE, FULA_DATABASE_LOGIN, FULA_POSTGRES_DATA, and whatever `look` throws
 */
export async function peekLedger<T>(
  loaded: LoadedConfig,
  look: (pool: Pool) => Promise<T>,
  signal?: AbortSignal,
  patience: LatePatience | null = null,
): Promise<T | null> {
  const { mode, database, user } = loaded.config.postgres;
  const followed = (await readKnownEpochs(loaded.paths.stateDir))?.followed ?? null;
  let own: { readonly host: string; readonly port: number } | null = null;
  if (mode === "embedded" && isOwnLedger(loaded, followed)) {
    const { running } = await inspectEmbeddedPostgres(loaded.paths);
    if (running === null) return null;
    own = { host: LOOPBACK, port: running.port };
  }
  const password = loaded.secrets.postgresPassword;
  const pool = createPool({
    ...(await placeOnTheWayIn(loaded, followed, own)),
    database,
    user,
    ...(password === null ? {} : { password }),
    part: "look",
    node: loaded.config.node.name,
    max: 1,
    connectTimeoutMs: LOOK_TIMEOUT_MS,
    statementTimeoutMs: LOOK_TIMEOUT_MS,
  });
  const cut = (): void => {
    for (const client of clients) client.end().catch(() => {});
  };
  const clients: PoolClient[] = [];
  pool.on("connect", (client) => clients.push(client));
  signal?.addEventListener("abort", cut, { once: true });
  try {
    await awaitLogin(pool, patience, signal);
    return await look(pool);
  } finally {
    signal?.removeEventListener("abort", cut);
    await pool.end();
  }
}
