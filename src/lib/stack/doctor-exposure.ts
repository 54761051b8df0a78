import { isLoopback, addressOfSetting } from "../config/addresses.ts";
import type { LoadedConfig } from "../config/load.ts";
import { formatCount } from "../kernel/units.ts";
import { inspectEmbeddedPostgres } from "../runtime/embedded-postgres.ts";
import { openAddresses, reachableAddressesOfBox } from "../runtime/own-addresses.ts";
import { type DoctorCheck, failed, fine } from "./doctor.ts";
import { ownPostgres } from "./own-postgres.ts";
import type { Finding } from "./preflight.ts";

/** A service of this box that nobody else may reach. */
interface PrivateService {
  readonly what: string;
  readonly port: number;
  /** What whoever reaches it can do. */
  readonly danger: string;
  readonly remedy: string;
}

/** The port of an address of this very box; null for somebody else's. */
function localPort(setting: string): number | null {
  const { host, port } = addressOfSetting(setting);
  return isLoopback(host) ? port : null;
}

async function postgresPort(loaded: LoadedConfig): Promise<number | null> {
  const { mode, host, port, announce } = loaded.config.postgres;
  // Other masters are meant to reach it, and it takes passwords from elsewhere over TLS alone.
  if (announce !== null && ownPostgres(loaded.config) !== null) return null;
  if (mode !== "embedded") return isLoopback(host) ? port : null;
  return (await inspectEmbeddedPostgres(loaded.paths)).running?.port ?? null;
}

async function privateServices(loaded: LoadedConfig): Promise<readonly PrivateService[]> {
  const { blocks, cluster, node } = loaded.config;
  const kuboPort = blocks.mode === "local" ? null : localPort(blocks.kuboApi);
  const clusterPort = cluster.mode === "local" ? null : localPort(cluster.api);
  const databasePort = node.role === "storage" ? null : await postgresPort(loaded);
  const services: readonly (Omit<PrivateService, "port"> & { readonly port: number | null })[] = [
    {
      what: "Kubo's RPC API",
      port: kuboPort,
      danger: "whoever reaches it owns the node",
      remedy:
        "let Addresses.API listen on 127.0.0.1 alone (ipfs config Addresses.API /ip4/127.0.0.1/tcp/5001), publish its port on 127.0.0.1 alone, and close it in the firewall.",
    },
    {
      what: "the cluster's REST API",
      port: clusterPort,
      danger: "whoever reaches it can unpin everything",
      remedy:
        "let the REST API listen on 127.0.0.1 alone, publish its port on 127.0.0.1 alone, and close it in the firewall.",
    },
    {
      what: "PostgreSQL",
      port: databasePort,
      danger: "whoever reaches it can try passwords",
      remedy:
        "set listen_addresses to localhost, or publish its port on 127.0.0.1 alone, and close it in the firewall.",
    },
  ];
  return services.flatMap(({ port, ...service }) => (port === null ? [] : [{ ...service, port }]));
}

/** A box with containers has dozens of addresses of bridges. */
const ADDRESSES_SHOWN_MAX = 4;

async function checkService(service: PrivateService, addresses: readonly string[]): Promise<Finding> {
  const { what, port, danger, remedy } = service;
  const open = await openAddresses(addresses, port);
  if (open.length > 0) {
    return failed(`Port ${port} of ${what} takes connections on ${open.join(", ")}: ${danger}.`, remedy);
  }
  const shown = addresses.slice(0, ADDRESSES_SHOWN_MAX).join(", ");
  const rest = addresses.length > ADDRESSES_SHOWN_MAX ? ", …" : "";
  const tried =
    addresses.length === 0
      ? "this box has no other address"
      : `${formatCount(addresses.length, "other address", "other addresses")} tried: ${shown}${rest}`;
  return fine(`${what}, port ${port}: not reachable but on loopback (${tried})`);
}

/** Tries to connect, from this box's own addresses, to what must be reachable on loopback alone. */
export function exposureCheck(loaded: LoadedConfig): DoctorCheck {
  return {
    name: "exposure",
    run: async () => {
      const services = await privateServices(loaded);
      if (services.length === 0) return fine("no service of this box listens on a port that others might reach");
      const addresses = reachableAddressesOfBox();
      return await Promise.all(services.map(async (service) => await checkService(service, addresses)));
    },
  };
}
