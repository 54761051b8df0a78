import type { Override, Overrides } from "../config/load.ts";
import { FulaError } from "../kernel/errors.ts";
import { Secret } from "../kernel/secret.ts";

/** The options of `join`, as the command line gives them. */
export interface JoinOptions {
  readonly runtime?: "auto" | "embedded" | "docker" | "external";
  readonly nodeName?: string;
  readonly serverPort?: string;
  readonly gatewayPort?: string;
  readonly postgresUrl?: string;
  readonly vaultAddress?: string;
  /** False with `--no-schedules`. */
  readonly schedules?: boolean;
  /** False with `--no-start`. */
  readonly start?: boolean;
  readonly skipPreflight?: readonly string[];
  readonly dryRun?: boolean;
  readonly yes?: boolean;
  /** Root of the file system that schedules are installed into; tests hand in their own. Default `/`. */
  readonly scheduleRoot?: string;
}

/** An external ledger as a URL names it; null where the URL leaves a part out. */
export interface LedgerAddress {
  readonly host: string;
  readonly port: number | null;
  readonly database: string | null;
  readonly user: string | null;
  readonly password: Secret | null;
}

function refuseUrl(reason: string): FulaError {
  // The URL itself is not repeated: it may hold a password.
  return new FulaError("FULA_USAGE", `--postgres-url: ${reason}.`, {
    hint: "--postgres-url postgres://user@host:5432/database, with the password in the environment variable POSTGRES_PASSWORD.",
  });
}

function decoded(text: string): string | null {
  return text === "" ? null : decodeURIComponent(text);
}

/**
 * Reads a connection URL (PostgreSQL 18 documentation, 32.1.1.2): user, password, host, port and database; of the
 * parameters only `host`, which names a socket directory.
 * @throws FulaError FULA_USAGE
 */
export function parsePostgresUrl(text: string): LedgerAddress {
  let url: URL;
  try {
    url = new URL(text);
  } catch (cause) {
    throw Object.assign(refuseUrl("this is no URL"), { cause });
  }
  if (url.protocol !== "postgres:" && url.protocol !== "postgresql:") {
    throw refuseUrl(`"${url.protocol}" is no PostgreSQL address`);
  }
  const unknown = [...url.searchParams.keys()].find((name) => name !== "host");
  if (unknown !== undefined) throw refuseUrl(`the parameter "${unknown}" is not known`);
  const host = decoded(url.hostname.replace(/^\[(.*)\]$/, "$1")) ?? url.searchParams.get("host");
  if (host === null || host === "") throw refuseUrl("it names no host");
  const database = url.pathname.replace(/^\//, "");
  if (database.includes("/")) throw refuseUrl("its path is no name of a database");
  const password = decoded(url.password);
  return {
    host,
    port: url.port === "" ? null : Number(url.port),
    database: decoded(database),
    user: decoded(url.username),
    password: password === null ? null : new Secret(password),
  };
}

function fromUrl(value: unknown): Override {
  return { flag: "--postgres-url", value: value ?? undefined };
}

/** The settings that the command line of this run sets, and thereby changes for good. */
export function overridesOf(options: JoinOptions, ledger: LedgerAddress | null): Overrides {
  return {
    "node.name": { flag: "--node-name", value: options.nodeName },
    "server.port": { flag: "--server-port", value: options.serverPort },
    "gateway.port": { flag: "--gateway-port", value: options.gatewayPort },
    "billing.vaultAddress": { flag: "--vault-address", value: options.vaultAddress },
    ...(ledger === null
      ? {}
      : {
          "postgres.mode": fromUrl("external"),
          "postgres.host": fromUrl(ledger.host),
          "postgres.port": fromUrl(ledger.port),
          "postgres.database": fromUrl(ledger.database),
          "postgres.user": fromUrl(ledger.user),
        }),
  };
}
