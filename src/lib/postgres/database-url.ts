import { FulaError } from "../kernel/errors.ts";
import { Secret } from "../kernel/secret.ts";
import type { PoolOptions, TlsMode } from "./pool.ts";

/** The part of `PoolOptions` that a URL can say. */
export type UrlOptions = Pick<PoolOptions, "host" | "port" | "database" | "user" | "tls"> & {
  readonly password?: Secret;
};

const TLS_BY_SSLMODE: Readonly<Record<string, TlsMode>> = {
  disable: "disable",
  require: "require",
  "verify-full": "verify-full",
};

function refuseUrl(message: string): never {
  throw new FulaError("FULA_DATABASE_URL", message, {
    hint: "write it as postgresql://user:password@host:port/database, special characters percent-encoded; ?sslmode=disable|require|verify-full and ?host=/socket/dir are understood.",
  });
}

function decode(text: string, what: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return refuseUrl(`The ${what} of the database URL is not percent-encoded correctly.`);
  }
}

function tlsOf(params: URLSearchParams): { readonly tls?: TlsMode } {
  const mode = params.get("sslmode");
  if (mode === null) return {};
  const tls = TLS_BY_SSLMODE[mode];
  return tls === undefined ? refuseUrl(`The database URL asks for sslmode=${mode}, which is not supported.`) : { tls };
}

/**
 * Reads a connection URL as libpq writes it (https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING).
 * No message repeats the URL: it holds a password.
 * @throws FulaError FULA_DATABASE_URL
 */
export function parseDatabaseUrl(text: string): UrlOptions {
  // libpq lets the host be empty before `?host=/socket/dir`; the URL standard does not.
  const url = URL.parse(text.replace(/^([a-z]+:\/\/[^/?#]*@)\//, "$1127.0.0.1/"));
  if (url === null || !["postgresql:", "postgres:"].includes(url.protocol)) {
    return refuseUrl("The database URL is not of the form postgresql://user@host/database.");
  }
  const unknown = [...url.searchParams.keys()].filter((key) => key !== "sslmode" && key !== "host");
  if (unknown.length > 0) refuseUrl(`The database URL has parameters that are not supported: ${unknown.join(", ")}.`);
  const user = decode(url.username, "user");
  const database = decode(url.pathname.slice(1), "database name");
  const host = url.searchParams.get("host") ?? url.hostname.replace(/^\[(.*)\]$/, "$1");
  if (user === "") refuseUrl("The database URL names no user.");
  if (database === "" || database.includes("/")) refuseUrl("The database URL names no database.");
  const password = decode(url.password, "password");
  return {
    host,
    port: url.port === "" ? 5432 : Number(url.port),
    database,
    user,
    ...(password === "" ? {} : { password: new Secret(password) }),
    ...tlsOf(url.searchParams),
  };
}
