import { DatabaseError, type Pool } from "pg";
import type { ErrorCode } from "../kernel/error-codes.ts";
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
  /^(?:Connection terminated|Query read timeout|timeout exceeded when trying to connect|timeout expired|Client has encountered a connection error|Client was closed|This socket has been ended)/;

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

// The texts of pg 8 for what was not over in time.
const LATE =
  /^(?:timeout expired|timeout exceeded when trying to connect|Connection terminated due to connection timeout|Query read timeout)/;

/**
 * True where a server is there that has not answered yet, because it starts, recovers, or it or this box is busy: asking again
 * may help.
 */
export function isLateAnswer(error: unknown): boolean {
  const state = sqlStateOf(error);
  // cannot_connect_now
  return state === null ? error instanceof Error && LATE.test(error.message) : state === "57P03";
}

/** SQLSTATE of a write that means another epoch of the ledger than the database is of. */
export const EPOCH_STALE = "FM002";

interface Explanation {
  readonly code: ErrorCode;
  readonly message: string;
  readonly hint: string;
}

// Trying again later does not help with these: a setting is wrong, or a right is missing.
const EXPLANATIONS: Readonly<Record<string, (target: DatabaseTarget, serverMessage: string) => Explanation>> = {
  // invalid_password
  "28P01": (target) => ({
    code: "FULA_DATABASE_LOGIN",
    message: `PostgreSQL refused the password of ${target.user} for ${formatTarget(target)}.`,
    hint: "set POSTGRES_PASSWORD in .env to the password of that role; fula-master config show tells where each value comes from.",
  }),
  // invalid_authorization_specification
  "28000": (target) => ({
    code: "FULA_DATABASE_LOGIN",
    message: `PostgreSQL does not let ${target.user} into ${formatTarget(target)} from here (role or pg_hba.conf).`,
    hint: "check that the role exists and may log in, and that pg_hba.conf has a line for this host.",
  }),
  // invalid_catalog_name
  "3D000": (target) => ({
    code: "FULA_DATABASE_LOGIN",
    message: `There is no database ${formatTarget(target)}.`,
    hint: `create it (createdb ${target.database}), or set POSTGRES_DB to the one you mean.`,
  }),
  // insufficient_privilege
  "42501": (target, serverMessage) => ({
    code: "FULA_DATABASE_PERMISSION",
    message: `${target.user} lacks a right in ${formatTarget(target)}: ${serverMessage}.`,
    hint: "connect as the owner of the database and its tables (--postgres-url), or grant what is missing.",
  }),
  // read_only_sql_transaction
  "25006": (target, serverMessage) => ({
    code: "FULA_DATABASE_READ_ONLY",
    message: `${formatTarget(target)} takes no writes: ${serverMessage}.`,
    hint: "connect to the primary; select pg_is_in_recovery() tells a standby, show default_transaction_read_only a setting.",
  }),
  // ours: refuse_stale_epoch() of the database
  [EPOCH_STALE]: (target, serverMessage) => ({
    code: "FULA_EPOCH_STALE",
    message: `${formatTarget(target)} is of another epoch of the ledger, and nothing was written: ${serverMessage.replace(/\.$/, "")}.`,
    hint: "fula-master status says where the primary is; what runs finds it by itself, so try again.",
  }),
};

function reasonOf(error: unknown): string {
  if (error instanceof AggregateError) return [...new Set(error.errors.map(reasonOf))].join(", ");
  return systemErrorCode(error) ?? messageOf(error);
}

/**
 * Turns what pg throws into what an operator understands: FULA_DATABASE_UNREACHABLE for an outage, FULA_DATABASE_LOGIN
 * for a wrong password, role or database name, FULA_DATABASE_PERMISSION, FULA_DATABASE_READ_ONLY. Anything else comes
 * back as it is.
 */
export function explainDatabaseError(error: unknown, target: DatabaseTarget): unknown {
  if (error instanceof FulaError) return error;
  const explanation = EXPLANATIONS[sqlStateOf(error) ?? ""]?.(target, messageOf(error));
  const details = { host: target.host, port: target.port, database: target.database, user: target.user };
  if (explanation !== undefined) {
    const { code, message, hint } = explanation;
    return new FulaError(code, message, { hint, cause: error, details });
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
