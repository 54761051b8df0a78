import { join } from "node:path";
import type { LoadedConfig } from "../config/load.ts";
import type { Clock } from "../kernel/clock.ts";
import { FulaError } from "../kernel/errors.ts";
import { exists } from "../kernel/files.ts";
import type { Log } from "../kernel/log.ts";
import type { Random } from "../kernel/random.ts";
import type { ConnectionOptions } from "../postgres/pool.ts";
import { openSession } from "../postgres/session.ts";
import { STAYING_SESSION } from "../postgres/session-settings.ts";
import type { LedgerServer } from "../recovery/postgres/ledger-server.ts";
import { connectDocker } from "../runtime/docker.ts";
import { ADMIN_ROLE, clusterPlace, readAdminPassword } from "../runtime/postgres-cluster.ts";
import type { PostgresSite } from "../runtime/postgres-site.ts";
import { openContainerSite } from "../runtime/postgres-site-container.ts";
import { openProcessSite } from "../runtime/postgres-site-processes.ts";
import { ensurePostgresUser, planPostgresUser } from "../runtime/postgres-user.ts";
import { type OwnPostgres, ownPostgres } from "./own-postgres.ts";
import { postgresTlsFiles } from "./postgres-tls.ts";
import { containerName } from "./stack-values.ts";

/** What reaching a server of this box needs beside the settings. */
export interface OwnServerDeps {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** What of fula-master connects, as pg_stat_activity shows it. Default `recovery`. */
  readonly part?: string;
}

/** The server that this box carries by its settings. @throws FulaError FULA_STANDBY_NONE where there is none */
function requireOwnPostgres({ config }: Pick<LoadedConfig, "config">): OwnPostgres {
  const own = ownPostgres(config);
  if (own !== null) return own;
  throw new FulaError("FULA_STANDBY_NONE", `${config.node.name} carries no PostgreSQL server of the ledger.`, {
    hint: "fula-master standby add makes one on this box; fula-master standby status shows which boxes have one.",
  });
}

/**
 * Where this box's server lives.
 * @throws FulaError FULA_STANDBY_NONE, FULA_POSTGRES_BINARIES, FULA_POSTGRES_USER, FULA_DOCKER_UNREACHABLE, FULA_DOCKER_FAILED
 */
export async function openOwnSite(loaded: LoadedConfig, deps: OwnServerDeps): Promise<PostgresSite> {
  const { config, paths } = loaded;
  const own = requireOwnPostgres(loaded);
  const { clock, random, env } = deps;
  if (own.kind === "container") {
    const docker = await connectDocker(env);
    const container = containerName(config, "postgres");
    return await openContainerSite({ docker, container, host: own.host, port: own.port, clock, random });
  }
  const { binDir, runAs } = config.postgres;
  const place = clusterPlace(paths.stateDir);
  const plan = await planPostgresUser({ runAs: runAs ?? undefined, dataDir: place.dataDir });
  const { user } = await ensurePostgresUser(plan);
  const logFile = join(paths.logsDir, "postgres.log");
  return await openProcessSite({ rootDir: place.root, binDir, user, port: own.port, logFile, clock });
}

/** Who this process is towards a server of its own: its superuser, over loopback. */
export async function adminConnection(
  { config, paths, secrets }: LoadedConfig,
  site: Pick<PostgresSite, "kind" | "host" | "port">,
  deps: OwnServerDeps,
): Promise<ConnectionOptions> {
  const { database, user } = config.postgres;
  const target = {
    host: site.host,
    port: site.port,
    database,
    part: deps.part ?? "recovery",
    node: config.node.name,
    sessionSettings: STAYING_SESSION,
  };
  if (site.kind === "container") {
    return { ...target, user, ...(secrets.postgresPassword === null ? {} : { password: secrets.postgresPassword }) };
  }
  const tls = postgresTlsFiles(paths.keysDir);
  // A standby has its primary's superuser, whose password lies on the primary's box alone: this box's certificate opens.
  if (config.postgres.announce !== null && (await exists(tls.key))) {
    const tlsCertificate = { certFile: tls.certificate, keyFile: tls.key };
    return { ...target, user: ADMIN_ROLE, tls: "verify-full", tlsCaFile: tls.ca, tlsCertificate };
  }
  const password = await readAdminPassword(clusterPlace(paths.stateDir));
  return { ...target, user: ADMIN_ROLE, ...(password === null ? {} : { password }) };
}

/** This box's server, for whoever changes its role or looks at it as superuser. @throws FulaError as `openOwnSite` */
export async function openOwnServer(loaded: LoadedConfig, deps: OwnServerDeps): Promise<LedgerServer> {
  const site = await openOwnSite(loaded, deps);
  const { clock, log } = deps;
  return {
    node: loaded.config.node.name,
    site,
    clock,
    log,
    // Asked each time: certificates are renewed while this lives.
    connect: async () => await openSession(await adminConnection(loaded, site, deps), clock),
  };
}
