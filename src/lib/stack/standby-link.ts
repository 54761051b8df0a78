import type { LoadedConfig } from "../config/load.ts";
import type { Clock } from "../kernel/clock.ts";
import type { ConnectionOptions } from "../postgres/pool.ts";
import { openSession } from "../postgres/session.ts";
import { STAYING_SESSION } from "../postgres/session-settings.ts";
import type { PrimaryLink } from "../recovery/postgres/primary-link.ts";
import { standbyRole } from "../recovery/postgres/standby-names.ts";
import type { PostgresSite } from "../runtime/postgres-site.ts";
import { announcedAddress } from "./own-postgres.ts";
import { postgresTlsFiles, siteTlsFiles } from "./postgres-tls.ts";

/** Another box's server, as the records of the control plane name it. */
export interface OtherServer {
  readonly node: string;
  /** `host:port` */
  readonly address: string;
}

/** How this process reaches another box's server: as this box's role, with its certificate. */
export function boxConnection(
  { config, paths }: Pick<LoadedConfig, "config" | "paths">,
  { address }: Pick<OtherServer, "address">,
  part: string,
): ConnectionOptions {
  const { host, port } = announcedAddress(address);
  const tls = postgresTlsFiles(paths.keysDir);
  return {
    host,
    port,
    database: config.postgres.database,
    user: standbyRole(config.node.name),
    tls: "verify-full",
    tlsCaFile: tls.ca,
    tlsCertificate: { certFile: tls.certificate, keyFile: tls.key },
    part,
    node: config.node.name,
    sessionSettings: STAYING_SESSION,
  };
}

/** Who goes there. */
interface LinkOptions {
  readonly clock: Clock;
  readonly part: string;
  /** Asked for each connection: cuts it. Missing: it lives until it is lost. */
  readonly ends?: () => AbortSignal;
}

/** The way from this box's server to another box's, for replication, rewinds and base backups. */
export function linkTo(
  loaded: Pick<LoadedConfig, "config" | "paths">,
  site: Pick<PostgresSite, "rootDir">,
  other: OtherServer,
  { clock, part, ends }: LinkOptions,
): PrimaryLink {
  const { host, port } = announcedAddress(other.address);
  const tls = siteTlsFiles(site);
  return {
    node: other.node,
    conninfo: {
      host,
      port: String(port),
      user: standbyRole(loaded.config.node.name),
      dbname: loaded.config.postgres.database,
      sslmode: "verify-full",
      sslrootcert: tls.ca,
      sslcert: tls.certificate,
      sslkey: tls.key,
      connect_timeout: "5",
      // A primary that is gone without a word is noticed in seconds, not in the kernel's quarter of an hour.
      keepalives_idle: "5",
      keepalives_interval: "2",
      keepalives_count: "3",
      tcp_user_timeout: "10000",
    },
    connect: async () => await openSession(boxConnection(loaded, other, part), clock, ends?.()),
  };
}
