import { Client } from "pg";
import { FulaError, messageOf } from "../kernel/errors.ts";
import type { Log } from "../kernel/log.ts";
import type { Secret } from "../kernel/secret.ts";
import { ADMIN_ROLE } from "./postgres-cluster.ts";

/** SQLSTATEs (https://www.postgresql.org/docs/current/errcodes-appendix.html). */
const INVALID_PASSWORD = "28P01";

/** What the configuration says about the ledger's database. */
export interface LedgerRole {
  readonly user: string;
  readonly password: Secret;
  readonly database: string;
}

/** The server is on this box and was seen to run: a login that takes longer is not late because the server is gone. */
const LOGIN_MS = 60_000;

/** The SQLSTATE or system error code of what a connection threw. */
export function connectionErrorCode(error: unknown): string | undefined {
  if (typeof error !== "object" || error === null || !("code" in error)) return undefined;
  return typeof error.code === "string" ? error.code : undefined;
}

/** Connects for the time of one callback. */
async function withClient<T>(
  target: { readonly port: number; readonly user: string; readonly password: Secret; readonly database: string },
  use: (client: Client) => Promise<T>,
): Promise<T> {
  const client = new Client({
    host: "127.0.0.1",
    port: target.port,
    user: target.user,
    password: target.password.reveal(),
    database: target.database,
    connectionTimeoutMillis: LOGIN_MS,
    application_name: "fula-master runtime",
  });
  // A server that goes away while the connection idles must not end this process; the next query reports it.
  client.on("error", () => {});
  await client.connect();
  try {
    return await use(client);
  } finally {
    await client.end().catch(() => {});
  }
}

/** Runs as the superuser, with the server told not to write statements (they hold passwords) to its log. */
export async function withAdmin<T>(port: number, password: Secret, use: (client: Client) => Promise<T>): Promise<T> {
  return await withClient({ port, user: ADMIN_ROLE, password, database: "postgres" }, async (client) => {
    await client.query("set log_statement = 'none'");
    await client.query("set log_min_error_statement = 'panic'");
    await client.query("set log_min_duration_statement = -1");
    return await use(client);
  });
}

/** The role may make databases: a drill has a ledger of its own beside the one that is in use. */
async function ensureRole(admin: Client, role: LedgerRole): Promise<void> {
  const { rows } = await admin.query<{ rolcreatedb: boolean }>("select rolcreatedb from pg_roles where rolname = $1", [
    role.user,
  ]);
  const user = admin.escapeIdentifier(role.user);
  const known = rows[0];
  if (known === undefined) {
    await admin.query(`create role ${user} login createdb password ${admin.escapeLiteral(role.password.reveal())}`);
  } else if (!known.rolcreatedb) {
    await admin.query(`alter role ${user} createdb`);
  }
}

async function ensureDatabase(admin: Client, role: LedgerRole): Promise<void> {
  const { rows } = await admin.query<{ owner: string }>(
    "select pg_get_userbyid(datdba) as owner from pg_database where datname = $1",
    [role.database],
  );
  const owner = rows[0]?.owner;
  if (owner === undefined) {
    await admin.query(
      `create database ${admin.escapeIdentifier(role.database)} owner ${admin.escapeIdentifier(role.user)} template template0 encoding 'UTF8'`,
    );
    return;
  }
  if (owner === role.user) return;
  throw new FulaError(
    "FULA_POSTGRES_DATA",
    `Database ${role.database} belongs to role ${owner}; the configuration says ${role.user}.`,
    {
      hint: `set postgres.user (POSTGRES_USER) back to ${owner}, or choose another postgres.database.`,
      details: { database: role.database, owner, configured: role.user },
    },
  );
}

/** Lets the configured password in, and changes it in the server where the configuration has a new one. */
async function ensurePassword(admin: Client, port: number, role: LedgerRole, log: Log): Promise<void> {
  try {
    await withClient(
      { port, user: role.user, password: role.password, database: role.database },
      async (client) => await client.query("select 1"),
    );
  } catch (error) {
    if (connectionErrorCode(error) !== INVALID_PASSWORD) throw error;
    await admin.query(
      `alter role ${admin.escapeIdentifier(role.user)} login password ${admin.escapeLiteral(role.password.reveal())}`,
    );
    log.info("postgres.password_changed", { role: role.user });
  }
}

/**
 * Makes the server fit the configuration: role, database and password. Run again, it changes nothing.
 * @throws FulaError FULA_POSTGRES_DATA
 */
export async function ensureLedgerRole(port: number, adminPassword: Secret, role: LedgerRole, log: Log): Promise<void> {
  if (role.user === ADMIN_ROLE) {
    throw new FulaError(
      "FULA_POSTGRES_DATA",
      `postgres.user must not be ${ADMIN_ROLE}: that is the embedded server's own superuser.`,
      {
        hint: "choose another name; the default is pinning_user.",
      },
    );
  }
  try {
    await withAdmin(port, adminPassword, async (admin) => {
      await ensureRole(admin, role);
      await ensureDatabase(admin, role);
      await ensurePassword(admin, port, role, log);
    });
  } catch (error) {
    if (error instanceof FulaError) throw error;
    throw new FulaError(
      "FULA_POSTGRES_START",
      `Cannot prepare database ${role.database} for ${role.user}: ${messageOf(error)}.`,
      {
        cause: error,
        hint: "logs/postgres.log tells what the server saw.",
      },
    );
  }
}
