import { addressOfSetting, urlOfSetting } from "../config/addresses.ts";
import type { LoadedConfig } from "../config/load.ts";
import type { Config } from "../config/schema.ts";
import { hostMultiaddress } from "../membership/reach.ts";
import { ownPostgres } from "./own-postgres.ts";

/** A service of the Compose templates. */
export type StackService = "postgres" | "kubo" | "cluster" | "nats" | "nats-witness" | "gateway";

/** The project whose containers have the names of the fleet's, so that whoever knows those finds ours. */
const FLEET_PROJECT: Readonly<Record<"master" | "storage", string>> = {
  master: "fula-master",
  storage: "fula-storage",
};
const FLEET_NAMES: Readonly<Record<StackService, string>> = {
  postgres: "postgres-pinning",
  kubo: "ipfs_host",
  cluster: "ipfs_cluster",
  nats: "fula_nats",
  "nats-witness": "fula_nats_witness",
  gateway: "fula-gateway-1",
};

/** The services that a box runs in containers of its own. */
export function stackServices(config: Config): readonly StackService[] {
  const { runtime, node, blocks, cluster, controlPlane, gateway } = config;
  if (runtime !== "docker") return [];
  const isMaster = node.role === "master";
  const services: StackService[] = [];
  if (ownPostgres(config)?.kind === "container") services.push("postgres");
  if (blocks.mode === "docker") services.push("kubo");
  if (cluster.mode === "docker") services.push("cluster");
  if (isMaster && controlPlane.mode === "docker") {
    services.push("nats");
    if (controlPlane.witness) services.push("nats-witness");
  }
  if (isMaster && gateway.mode === "container") services.push("gateway");
  return services;
}

/** True where the settings ask for a container of our own. */
export function hasContainers(config: Config): boolean {
  return stackServices(config).length > 0;
}

/** Which of `docker.images` a service is run from. */
export function imageName<Service extends string>(service: Service): Exclude<Service, "nats-witness"> | "nats" {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- what is left after the comparison, which the compiler does not see
  return service === "nats-witness" ? "nats" : (service as Exclude<Service, "nats-witness">);
}

/** The image that the settings name for a service. */
export function imageOf({ docker: { images } }: Config, service: StackService): string {
  return images[imageName(service)];
}

/** The name of a service's container. */
export function containerName({ node, docker: { project } }: Config, service: StackService): string {
  return project === FLEET_PROJECT[node.role] ? FLEET_NAMES[service] : `${project}-${service}-1`;
}

/** What a NATS server of this box is called among those of the federation. */
export function natsServerName({ node }: Config, service: "nats" | "nats-witness"): string {
  return service === "nats" ? node.name : `${node.name}-witness`;
}

/** The TCP port of a setting that is an address. */
function portOf(address: string): number {
  return addressOfSetting(address).port;
}

function announcements({ node: { announce }, kubo, cluster }: Config): {
  readonly kubo: string;
  readonly cluster: string;
} {
  if (announce === null) return { kubo: "", cluster: "" };
  const host = hostMultiaddress(announce);
  // A private network has no QUIC.
  const transports = kubo.private ? ["tcp/PORT"] : ["tcp/PORT", "udp/PORT/quic-v1"];
  return {
    kubo: transports.map((each) => `${host}/${each.replace("PORT", String(kubo.swarmPort))}`).join(","),
    cluster: `${host}/tcp/${cluster.swarmPort}`,
  };
}

function postgresValues(config: Config, isHeldBack: boolean): Readonly<Record<string, string>> {
  const { postgres, docker } = config;
  const own = ownPostgres(config);
  const isReached = own !== null && own.announce !== null;
  return {
    POSTGRES_IMAGE: docker.images.postgres,
    POSTGRES_CONTAINER: containerName(config, "postgres"),
    POSTGRES_DB: postgres.database,
    POSTGRES_USER: postgres.user,
    POSTGRES_PORT: String(own?.port ?? postgres.port),
    POSTGRES_LISTEN: isReached ? own.listen : "",
    POSTGRES_RESTART: isHeldBack ? "no" : "",
    POSTGRES_ROLE: own?.role ?? "",
    POSTGRES_MEMORY: String(docker.memory.postgres),
  };
}

function storeValues(config: Config): Readonly<Record<string, string>> {
  const { node, blocks, kubo, cluster, docker } = config;
  const announced = announcements(config);
  return {
    KUBO_IMAGE: docker.images.kubo,
    KUBO_CONTAINER: containerName(config, "kubo"),
    KUBO_REACH: kubo.reach,
    KUBO_ANNOUNCE: announced.kubo,
    KUBO_PEERS: kubo.peers.join(","),
    KUBO_PRIVATE: String(kubo.private),
    KUBO_API_PORT: String(portOf(blocks.kuboApi)),
    KUBO_SWARM_PORT: String(kubo.swarmPort),
    KUBO_MEMORY: String(docker.memory.kubo),
    CLUSTER_IMAGE: docker.images.cluster,
    CLUSTER_CONTAINER: containerName(config, "cluster"),
    PEER_NAME: node.name,
    REPLICATION_MIN: String(cluster.replicationMin),
    REPLICATION_MAX: String(cluster.replicationMax),
    CLUSTER_ANNOUNCE: announced.cluster,
    TRUSTED_PEERS: cluster.trustedPeers.join(","),
    BOOTSTRAP: cluster.bootstrap.join(","),
    CLUSTER_API_PORT: String(portOf(cluster.api)),
    CLUSTER_SWARM_PORT: String(cluster.swarmPort),
    CLUSTER_MEMORY: String(docker.memory.cluster),
  };
}

/** Go's garbage collector begins to work in earnest below this share of what the container may have. */
const GO_MEMORY_SHARE = 0.8;

function natsValues(config: Config): Readonly<Record<string, string>> {
  const { controlPlane, docker } = config;
  return {
    NATS_IMAGE: docker.images.nats,
    NATS_CONTAINER: containerName(config, "nats"),
    NATS_WITNESS_CONTAINER: containerName(config, "nats-witness"),
    NATS_CLIENT_PORT: String(controlPlane.clientPort),
    NATS_ROUTE_PORT: String(controlPlane.routePort),
    NATS_MONITOR_PORT: String(controlPlane.monitorPort),
    NATS_MEMORY: String(docker.memory.nats),
    NATS_GO_MEMORY: String(Math.floor(docker.memory.nats * GO_MEMORY_SHARE)),
  };
}

/** The gateway is on the host's network: whatever the box itself reaches, it reaches by the same address. */
function gatewayValues(config: Config): Readonly<Record<string, string>> {
  const { postgres, blocks, buckets, cluster, gateway, docker, identity } = config;
  return {
    GATEWAY_IMAGE: docker.images.gateway,
    GATEWAY_CONTAINER: containerName(config, "gateway"),
    GATEWAY_PORT: String(gateway.port),
    GATEWAY_MEMORY: String(docker.memory.gateway),
    GATEWAY_POSTGRES_HOST: postgres.host,
    GATEWAY_KUBO_URL: urlOfSetting(blocks.kuboApi),
    GATEWAY_CLUSTER_URL: urlOfSetting(cluster.api),
    BUCKET_ROOT_CAS: String(buckets.cas),
    EIP712_AUTH: String(identity.eip712 === "all"),
    REMOTE_CID_PUT: String(gateway.remoteCidPut),
  };
}

/**
 * What the variables of the Compose templates stand for on this box.
 * @param heldBack services that the engine must not start by itself; default none
 */
export function stackValues(
  { config }: Pick<LoadedConfig, "config">,
  heldBack: readonly StackService[] = [],
): Readonly<Record<string, string>> {
  const postgres = postgresValues(config, heldBack.includes("postgres"));
  return { ...postgres, ...storeValues(config), ...natsValues(config), ...gatewayValues(config) };
}
