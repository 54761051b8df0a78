import { DatabaseError, type Pool } from "pg";
import { FulaError, messageOf, systemErrorCode } from "../kernel/errors.ts";

/** Where a connection was to go; what error messages may show of it. Never the password. */
export interface DatabaseTarget {
  readonly host: string;
  readonly port: number;
  readonly database: string;
  readonly user: string;
}

/** The address a pool connects to, without its password. */
export function targetOf(pool: Pool): DatabaseTarget {
  const { host, port, database, user } = pool.options;
  return { host: host ?? "localhost", port: port ?? 5432, database: database ?? "", user: user ?? "" };
}

/** `pinning_service at 127.0.0.1:5432`. */
export function formatTarget(target: DatabaseTarget): string {
  const host = target.host.includes(":") ? `[${target.host}]` : target.host;
  return `${target.database} at ${host}:${target.port}`;
}

/** The SQLSTATE of a server error, or null for anything else. */
export function sqlStateOf(error: unknown): string | null {
  return error instanceof DatabaseError ? (error.code ?? null) : null;
}

const UNREACHABLE_ERRNO: ReadonlySet<string> = new Set([
  "ECONNREFUSED",
  "ECONNRESET",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "ENETDOWN",
  "ENOENT",
  "ENOTFOUND",
  "EAI_AGAIN",
  "EPIPE",
  "ETIMEDOUT",
]);

// pg has no codes for these; the texts are those of pg 8 (lib/client.js, lib/connection.js, pg-pool/index.js).
const CONNECTION_LOST =
  /^(?:Connection terminated|timeout exceeded when trying to connect|timeout expired|Client has encountered a connection error|Client was closed|This socket has been ended)/;

/** True when the server did not answer or went away: nothing is known to be wrong with the statement. */
export function isConnectionLoss(error: unknown): boolean {
  const state = sqlStateOf(error);
  // Class 08 connection exceptions; 57P01–57P03 shut down, crashed, still starting; 53300 no free connection slot.
  if (state !== null) return /^(?:08...|57P0[1-3]|53300)$/.test(state);
  if (error instanceof AggregateError) return error.errors.some(isConnectionLoss);
  const errno = systemErrorCode(error);
  if (errno !== null && errno !== undefined) return UNREACHABLE_ERRNO.has(errno);
  return error instanceof Error && CONNECTION_LOST.test(error.message);
}

// A wrong setting, not an outage: trying again later does not help.
const SETTING_STATES: Readonly<Record<string, (target: DatabaseTarget) => { message: string; hint: string }>> = {
  "28P01": (target) => ({
    message: `PostgreSQL refused the password of ${target.user} for ${formatTarget(target)}.`,
    hint: "set POSTGRES_PASSWORD in .env to the password of that role; fula-master config show tells where each value comes from.",
  }),
  "28000": (target) => ({
    message: `PostgreSQL does not let ${target.user} into ${formatTarget(target)} from here (role or pg_hba.conf).`,
    hint: "check that the role exists and may log in, and that pg_hba.conf has a line for this host.",
  }),
  "3D000": (target) => ({
    message: `There is no database ${formatTarget(target)}.`,
    hint: `create it (createdb ${target.database}), or set POSTGRES_DB to the one you mean.`,
  }),
};

function reasonOf(error: unknown): string {
  if (error instanceof AggregateError) return [...new Set(error.errors.map(reasonOf))].join(", ");
  return systemErrorCode(error) ?? messageOf(error);
}

/**
 * Turns what pg throws into what an operator understands: FULA_DATABASE_UNREACHABLE for an outage, FULA_DATABASE_LOGIN
 * for a wrong password, role or database name. Anything else comes back as it is.
 */
export function explainDatabaseError(error: unknown, target: DatabaseTarget): unknown {
  if (error instanceof FulaError) return error;
  const setting = SETTING_STATES[sqlStateOf(error) ?? ""]?.(target);
  const details = { host: target.host, port: target.port, database: target.database, user: target.user };
  if (setting !== undefined) {
    return new FulaError("FULA_DATABASE_LOGIN", setting.message, { hint: setting.hint, cause: error, details });
  }
  if (error instanceof Error && error.message.startsWith("SASL:")) {
    return new FulaError("FULA_DATABASE_LOGIN", `No usable password for ${target.user} at ${formatTarget(target)}.`, {
      hint: "set POSTGRES_PASSWORD in .env to the password of that role.",
      cause: error,
      details,
    });
  }
  if (!isConnectionLoss(error)) return error;
  return new FulaError(
    "FULA_DATABASE_UNREACHABLE",
    `PostgreSQL does not answer: ${formatTarget(target)} (${reasonOf(error)}).`,
    {
      hint: `check that the server runs and can be reached: pg_isready -h ${target.host} -p ${target.port}`,
      cause: error,
      details,
    },
  );
}
