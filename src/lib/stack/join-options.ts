import { createHash } from "node:crypto";
import type { Override, Overrides } from "../config/load.ts";
import { type SettingKey, SETTINGS, settingOf } from "../config/schema.ts";
import { FulaError } from "../kernel/errors.ts";
import { nearest } from "../kernel/nearest.ts";
import { Secret } from "../kernel/secret.ts";
import type { TokenSource } from "./token-source.ts";

/** The options of `join`, as the command line gives them. */
export interface JoinOptions extends TokenSource {
  readonly runtime?: "auto" | "embedded" | "docker" | "external";
  readonly nodeName?: string;
  readonly serverPort?: string;
  readonly gatewayPort?: string;
  readonly apiPort?: string;
  readonly postgresUrl?: string;
  /** API of a Kubo node that runs already; with `clusterApi` the writer is adopted. */
  readonly kuboApi?: string;
  /** REST API of an IPFS Cluster peer that runs already. */
  readonly clusterApi?: string;
  readonly announce?: string;
  readonly project?: string;
  /** `key=value`, each a setting of this run. */
  readonly set?: readonly string[];
  /** Name of an old pool whose cluster secret is the SHA-256 of its name. */
  readonly legacyClusterSecret?: string;
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
  /** `sslmode` as libpq names it; null where the URL does not say. */
  readonly tls: string | null;
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
 * parameters `host`, which names a socket directory, and `sslmode`, which `postgres.tls` then checks.
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
  const unknown = [...url.searchParams.keys()].find((name) => name !== "host" && name !== "sslmode");
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
    tls: url.searchParams.get("sslmode"),
  };
}

function fromUrl(value: unknown): Override {
  return { flag: "--postgres-url", value: value ?? undefined };
}

/** An option of the command line, where it was used: an unused one must not hide `--set` of the same setting. */
function given(key: SettingKey, flag: string, value: string | undefined): Overrides {
  return value === undefined ? {} : { [key]: { flag, value } };
}

/** Reads one `--set key=value`. @throws FulaError FULA_USAGE for another form, FULA_CONFIG_UNKNOWN_KEY */
function parseSet(text: string): Overrides {
  const at = text.indexOf("=");
  const key = text.slice(0, Math.max(at, 0));
  if (at < 1) {
    throw new FulaError("FULA_USAGE", `--set ${text} is not of the form key=value.`, {
      hint: "--set cluster.replicationMin=1, for example; fula-master config show lists every setting.",
    });
  }
  const entry = settingOf(key);
  if (entry === undefined) {
    const meant = nearest(
      key,
      SETTINGS.map((known) => known.key),
    );
    throw new FulaError("FULA_CONFIG_UNKNOWN_KEY", `--set ${key} is no setting.`, {
      hint: meant === null ? "fula-master config show lists every setting." : `did you mean ${meant}?`,
    });
  }
  return { [entry.key]: { flag: "--set", value: text.slice(at + 1) } };
}

/**
 * The secret of an old pool's IPFS Cluster: the SHA-256 of the pool's name, in hex. Whoever knows the name knows it,
 * so that it is used to join such a pool and for nothing else.
 */
export function legacyClusterSecret(poolName: string): Secret {
  return new Secret(createHash("sha256").update(poolName).digest("hex"));
}

/**
 * The settings that the command line of this run sets, and thereby changes for good. An option of its own stands above
 * `--set`.
 * @throws FulaError FULA_USAGE, FULA_CONFIG_UNKNOWN_KEY
 */
export function overridesOf(options: JoinOptions, ledger: LedgerAddress | null): Overrides {
  return {
    ...Object.assign({}, ...(options.set ?? []).map(parseSet)),
    ...given("node.name", "--node-name", options.nodeName),
    ...given("server.port", "--server-port", options.serverPort),
    ...given("gateway.port", "--gateway-port", options.gatewayPort),
    ...given("api.port", "--api-port", options.apiPort),
    ...given("billing.vaultAddress", "--vault-address", options.vaultAddress),
    ...given("node.announce", "--announce", options.announce),
    ...given("docker.project", "--project", options.project),
    ...given("blocks.kuboApi", "--kubo-api", options.kuboApi),
    ...given("cluster.api", "--cluster-api", options.clusterApi),
    ...given("cluster.legacyPool", "--legacy-cluster-secret", options.legacyClusterSecret),
    ...(ledger === null
      ? {}
      : {
          "postgres.mode": fromUrl("external"),
          "postgres.host": fromUrl(ledger.host),
          "postgres.port": fromUrl(ledger.port),
          "postgres.database": fromUrl(ledger.database),
          "postgres.user": fromUrl(ledger.user),
          "postgres.tls": fromUrl(ledger.tls),
        }),
  };
}
