import { addressOfSetting } from "../config/addresses.ts";
import type { LoadedConfig } from "../config/load.ts";
import type { Config } from "../config/schema.ts";
import { hostMultiaddress } from "../membership/reach.ts";
import { urlOf } from "./pinset.ts";

/** A service of the Compose templates. */
export type StackService = "postgres" | "kubo" | "cluster" | "gateway";

/** The project whose containers have the names of the fleet's, so that whoever knows those finds ours. */
const FLEET_PROJECT: Readonly<Record<"master" | "storage", string>> = {
  master: "fula-master",
  storage: "fula-storage",
};
const FLEET_NAMES: Readonly<Record<StackService, string>> = {
  postgres: "postgres-pinning",
  kubo: "ipfs_host",
  cluster: "ipfs_cluster",
  gateway: "fula-gateway-1",
};

/** The services that a box runs in containers of its own. */
export function stackServices({ runtime, node, postgres, blocks, cluster, gateway }: Config): readonly StackService[] {
  if (runtime !== "docker") return [];
  const isMaster = node.role === "master";
  const services: StackService[] = [];
  if (isMaster && postgres.mode === "docker") services.push("postgres");
  if (blocks.mode === "docker") services.push("kubo");
  if (cluster.mode === "docker") services.push("cluster");
  if (isMaster && gateway.mode === "container") services.push("gateway");
  return services;
}

/** True where the settings ask for a container of our own. */
export function hasContainers(config: Config): boolean {
  return stackServices(config).length > 0;
}

/** The name of a service's container. */
function containerName({ node, docker: { project } }: Config, service: StackService): string {
  return project === FLEET_PROJECT[node.role] ? FLEET_NAMES[service] : `${project}-${service}-1`;
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
  return {
    kubo: `${host}/tcp/${kubo.swarmPort},${host}/udp/${kubo.swarmPort}/quic-v1`,
    cluster: `${host}/tcp/${cluster.swarmPort}`,
  };
}

function postgresValues(config: Config): Readonly<Record<string, string>> {
  const { postgres, docker } = config;
  return {
    POSTGRES_IMAGE: docker.images.postgres,
    POSTGRES_CONTAINER: containerName(config, "postgres"),
    POSTGRES_DB: postgres.database,
    POSTGRES_USER: postgres.user,
    POSTGRES_PORT: String(postgres.port),
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

/** The gateway is on the host's network: whatever the box itself reaches, it reaches by the same address. */
function gatewayValues(config: Config): Readonly<Record<string, string>> {
  const { postgres, blocks, cluster, gateway, docker, features } = config;
  return {
    GATEWAY_IMAGE: docker.images.gateway,
    GATEWAY_CONTAINER: containerName(config, "gateway"),
    GATEWAY_PORT: String(gateway.port),
    GATEWAY_MEMORY: String(docker.memory.gateway),
    GATEWAY_POSTGRES_HOST: postgres.host,
    GATEWAY_KUBO_URL: urlOf(blocks.kuboApi),
    GATEWAY_CLUSTER_URL: urlOf(cluster.api),
    BUCKET_ROOT_CAS: String(features.bucketRootCas),
    EIP712_AUTH: String(features.eip712Auth),
    REMOTE_CID_PUT: String(features.remoteCidPut),
  };
}

/** What the variables of the Compose templates stand for on this box. */
export function stackValues({ config }: LoadedConfig): Readonly<Record<string, string>> {
  return { ...postgresValues(config), ...storeValues(config), ...gatewayValues(config) };
}
