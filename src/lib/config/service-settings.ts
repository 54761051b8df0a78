import {
  bytes,
  type DefaultFacts,
  flag,
  integer,
  list,
  listenHost,
  oneOf,
  optionalText,
  plainText,
  serviceAddress,
  type SettingDefault,
} from "./setting.ts";

/**
 * The default mode of a service: what runs on this box itself, unless its address was given or the runtime says
 * otherwise.
 */
function modeDefault<Own extends string, Remote extends string>(
  own: Own,
  remote: Remote,
  addressKey: string,
): SettingDefault<Own | "docker" | Remote> {
  return {
    resolve: (facts: DefaultFacts) => {
      const runtime = facts.value("runtime");
      if (runtime === "embedded") return own;
      if (runtime === "docker") return facts.isGiven(addressKey) ? remote : "docker";
      return runtime === "auto" && !facts.isGiven(addressKey) ? own : remote;
    },
    text: `${own}; docker where runtime is docker; ${remote} where ${addressKey} is set or runtime is external`,
    example: own,
  };
}

const SWARM_ADDRESS = /^\/[a-z0-9]+\/[^\s,]+\/p2p\/[A-Za-z0-9]+$/;
const SWARM_ADDRESS_TEXT = "multiaddresses that end in /p2p/<peer id>";
const PEER_ID = /^(?:12D3KooW[1-9A-HJ-NP-Za-km-z]{44}|Qm[1-9A-HJ-NP-Za-km-z]{44})$/;
const IMAGE = /^[a-z0-9][a-z0-9._/:-]*[a-z0-9](?::[A-Za-z0-9_][A-Za-z0-9._-]{0,127})?(?:@sha256:[0-9a-f]{64})?$/;
const NOTHING = { resolve: (): readonly string[] => [], text: "(none)", example: "[]" };

/** What this box is. */
export const NODE_SETTINGS = {
  role: oneOf(
    {
      description: "`master` runs the whole stack; `storage` replicates pins and has no ledger.",
      default: "master",
    },
    ["master", "storage"] as const,
  ),
  name: plainText(
    {
      description: "Name of this box in snapshots, logs and leases.",
      default: { resolve: ({ hostname }) => hostname, text: "the host name", example: "master-1" },
    },
    /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/,
    "letters, digits, dots, dashes and underscores, at most 63",
  ),
  clusterId: optionalText(
    { description: "UUID that names the pinset of this federation; `join` writes it.", default: null },
    /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/,
    "a UUID in lower case",
  ),
  announce: optionalText(
    {
      description: "Host name or IP address under which other nodes reach this box; `join` writes it.",
      default: null,
    },
    /^[A-Za-z0-9:][A-Za-z0-9.:-]{0,252}$/,
    "a host name or an IP address",
  ),
} as const;

/** The ledger's database. */
export const POSTGRES_SETTINGS = {
  mode: oneOf(
    {
      description:
        "`embedded` starts a PostgreSQL server as a child process, `docker` in a container; `external` connects to one that runs.",
      default: modeDefault("embedded", "external", "postgres.host"),
    },
    ["embedded", "docker", "external"] as const,
  ),
  host: plainText({
    description: "Host name, address or socket directory of the external server.",
    default: "127.0.0.1",
    env: ["POSTGRES_HOST"],
  }),
  port: integer(
    {
      description: "TCP port of the server; 0 lets the embedded one choose a free port and remember it.",
      default: {
        resolve: (facts) => (facts.value("postgres.mode") === "embedded" ? 0 : 5432),
        text: "0 when embedded, else 5432",
        example: "5432",
      },
      env: ["POSTGRES_PORT"],
    },
    0,
    65_535,
  ),
  database: plainText({
    description: "Name of the ledger's database.",
    default: "pinning_service",
    env: ["POSTGRES_DB"],
  }),
  user: plainText({ description: "Role that owns the ledger.", default: "pinning_user", env: ["POSTGRES_USER"] }),
  tls: oneOf(
    {
      description:
        "Encryption towards an external server; `require` does not check who answers, `verify-full` checks its certificate.",
      default: "disable",
    },
    ["disable", "require", "verify-full"] as const,
  ),
  tlsCaFile: optionalText({
    description: "PEM file of the authorities that may have signed the server's certificate; else those of Node.js.",
    default: null,
  }),
  binDir: optionalText({
    description:
      "Directory of the server binaries that the embedded server shall use, such as /usr/lib/postgresql/15/bin.",
    default: null,
  }),
  runAs: optionalText(
    { description: "User that runs the embedded server when fula-master runs as root.", default: null },
    /^[a-z_][a-z0-9_-]{0,31}\$?$/,
    "a user name",
  ),
  announce: optionalText(
    {
      description:
        "Where other masters reach this box's own PostgreSQL, as `host:port`, for a standby and after a failover; not set = nobody does, and it listens on loopback alone.",
      default: null,
    },
    /^(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\]):\d{1,5}$/,
    "a host and a port, such as 10.0.0.5:5432",
  ),
  listen: listenHost({
    description: "Address that this box's own PostgreSQL listens on beside loopback where postgres.announce is set.",
    default: "0.0.0.0",
  }),
  poolMax: integer(
    { description: "Most connections that one process opens.", default: 10, env: ["POSTGRES_MAX_CONNECTIONS"] },
    1,
    1_000,
  ),
} as const;

/** Where blocks are. */
export const BLOCKS_SETTINGS = {
  mode: oneOf(
    {
      description:
        "`local` keeps blocks in a directory of this box, `docker` in a Kubo container of its own; `kubo` uses the API of a Kubo node that runs.",
      default: modeDefault("local", "kubo", "blocks.kuboApi"),
    },
    ["local", "docker", "kubo"] as const,
  ),
  kuboApi: serviceAddress({
    description: "API of the Kubo node; its port is where a container of our own is reached on 127.0.0.1.",
    default: "/ip4/127.0.0.1/tcp/5001",
    env: ["IPFS_API_ADDR", "IPFS_API_URL"],
  }),
} as const;

/** The Kubo node in a container of our own. */
export const KUBO_SETTINGS = {
  swarmPort: integer(
    { description: "Port, TCP and UDP, at which other Kubo nodes reach it.", default: 4001 },
    1,
    65_535,
  ),
  reach: oneOf(
    {
      description:
        "`public` takes part in the public IPFS network; `federation` talks to the nodes of this federation alone.",
      default: "public",
    },
    ["public", "federation"] as const,
  ),
  private: flag({
    description:
      "Kubo talks to nobody who lacks the federation's swarm key (SWARM_KEY): no public gateway finds its blocks. On all nodes of a federation, or on none.",
    default: false,
  }),
  peers: list(
    { description: "Kubo nodes that it stays connected with: those of the masters.", default: NOTHING },
    SWARM_ADDRESS,
    SWARM_ADDRESS_TEXT,
  ),
} as const;

/** The pinset and the peers that hold it. */
export const CLUSTER_SETTINGS = {
  mode: oneOf(
    {
      description:
        "`local` keeps the pinset on this box, `docker` in an IPFS Cluster peer in a container of its own; `rest` uses the REST API of a peer that runs.",
      default: modeDefault("local", "rest", "cluster.api"),
    },
    ["local", "docker", "rest"] as const,
  ),
  api: serviceAddress({
    description: "REST API of the peer; its port is where a container of our own is reached on 127.0.0.1.",
    default: "/ip4/127.0.0.1/tcp/9094",
    env: ["IPFS_CLUSTER_API_ADDR", "CLUSTER_API_URL"],
  }),
  swarmPort: integer(
    { description: "TCP port at which other peers reach a container of our own.", default: 9096 },
    1,
    65_535,
  ),
  replicationMin: integer(
    { description: "Fewest peers that must hold a pin that asks for no number itself; -1 = every peer.", default: 2 },
    -1,
    1_000,
  ),
  replicationMax: integer(
    { description: "Most peers that hold such a pin; -1 = every peer.", default: 6, env: ["REPL_MAX"] },
    -1,
    1_000,
  ),
  trustedPeers: list(
    { description: "Peer ids of the masters: the only ones whose changes of the pinset are taken.", default: NOTHING },
    PEER_ID,
    "peer ids, 12D3KooW… or Qm…",
  ),
  bootstrap: list(
    { description: "Peers that are asked first when ours joins.", default: NOTHING },
    SWARM_ADDRESS,
    SWARM_ADDRESS_TEXT,
  ),
  legacyPool: optionalText({
    description:
      "Name of the old pool whose secret is the hash of its name; `join --legacy-cluster-secret` writes it, and status warns.",
    default: null,
  }),
} as const;

function image(what: string, fallback: string): ReturnType<typeof plainText> {
  return plainText(
    { description: `Image of the ${what} container, with its tag or digest.`, default: fallback },
    IMAGE,
    "an image reference such as registry/name:tag or name@sha256:…",
  );
}

const MIB = 1024 ** 2;

function memory(what: string, mib: number): ReturnType<typeof bytes> {
  return bytes(
    {
      description: `Most memory that the ${what} container may use.`,
      default: { resolve: () => mib * MIB, text: `${mib}MiB`, example: `${mib}MiB` },
    },
    64 * MIB,
  );
}

/** Containers of our own. */
export const DOCKER_SETTINGS = {
  project: plainText(
    {
      description: "Compose project that the containers belong to.",
      default: {
        resolve: (facts) => (facts.value("node.role") === "storage" ? "fula-storage" : "fula-master"),
        text: "fula-master; fula-storage on a storage node",
        example: "fula-master",
      },
    },
    /^[a-z0-9][a-z0-9_-]{0,62}$/,
    "lower-case letters, digits, dashes and underscores, at most 63",
  ),
  images: {
    postgres: image("PostgreSQL", "postgres:16-alpine"),
    kubo: image("Kubo", "ipfs/kubo:v0.42.0"),
    cluster: image("IPFS Cluster", "ipfs/ipfs-cluster:v1.1.6"),
    nats: image("NATS", "nats:2.15.2-alpine"),
    gateway: image("existing gateway's", "fula-gateway:latest"),
  },
  memory: {
    postgres: memory("PostgreSQL", 1_024),
    kubo: memory("Kubo", 2_048),
    cluster: memory("IPFS Cluster", 1_024),
    nats: memory("NATS", 256),
    gateway: memory("existing gateway's", 1_024),
  },
} as const;
