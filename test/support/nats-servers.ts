import { once } from "node:events";
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { nkeys } from "@nats-io/transport-node";
import { binaries } from "../infra/daemons.ts";
import { z } from "zod";
import { askHttp, DaemonProcess, findFreePorts } from "./daemon-process.ts";
import { until } from "./until.ts";

/** Who may log in: the public half stands in the server's file, the seed is what a client proves itself with. */
export interface NatsUser {
  readonly publicKey: string;
  readonly seed: string;
}

/** A real nats-server on loopback with its store in a directory of its own. */
export interface NatsServer {
  readonly name: string;
  /** For clients: `nats://127.0.0.1:<port>`. */
  readonly url: string;
  readonly clientPort: number;
  readonly routePort: number;
  /** `http://127.0.0.1:<port>` */
  readonly monitor: string;
  readonly dir: string;
  readonly configPath: string;
  /** `start`, `stop`, `kill`, `freeze`, `thaw`, `log`. */
  readonly process: DaemonProcess;
}

/** Servers that form one cluster; gone with their stores when they are disposed of. */
export interface NatsServers extends AsyncDisposable {
  readonly servers: readonly NatsServer[];
  readonly urls: readonly string[];
  /** Of the account with JetStream. */
  readonly user: NatsUser;
  /** Of the system account. */
  readonly system: NatsUser;
  readonly cluster: string;
}

/** How servers differ from what `templates/docker` gives them; each remedy can be taken out. */
export interface NatsServerOptions {
  /** False: they are made, and the test starts them. Default true. */
  readonly start?: boolean;
  /** False: one server that forms no cluster. Default: true from two servers on. */
  readonly clustered?: boolean;
  /** Default -1: one route a peer. Null leaves the server's own default. */
  readonly poolSize?: number | null;
  /** Default true. */
  readonly noAdvertise?: boolean;
  /** Default `always`. Null leaves the server's own default. */
  readonly syncInterval?: string | null;
  /** Servers that each knows of at first; default all others. A server that joins later knows the earlier ones. */
  readonly routesOf?: (index: number) => readonly number[];
  /** Where server `from` reaches the routes of server `to`; default directly. A proxy can stand here. */
  readonly routeAddress?: (from: number, to: number, port: number) => string;
  /** More lines of the server's file. */
  readonly extra?: (index: number) => string;
  /** Bytes that a server's store may take; default 64 MiB. */
  readonly maxFileBytes?: number;
}

/** Every write waits for the disk (`sync_interval: always`); a disk in memory keeps it across a kill -9 as well. */
const PARENT = existsSync("/dev/shm") ? "/dev/shm" : tmpdir();

const MAX_FILE_BYTES = 64 * 1024 * 1024;

/** Somebody whom no server knows yet. */
export function newNatsUser(): NatsUser {
  const pair = nkeys.createUser();
  return { publicKey: pair.getPublicKey(), seed: new TextDecoder().decode(pair.getSeed()) };
}

interface Cluster {
  readonly name: string;
  readonly user: NatsUser;
  readonly system: NatsUser;
  readonly options: NatsServerOptions;
  readonly ports: readonly { readonly client: number; readonly route: number; readonly monitor: number }[];
}

function clusterBlock(cluster: Cluster, index: number): string {
  const { options, ports } = cluster;
  const { poolSize = -1, noAdvertise = true, routeAddress = (_from, _to, port) => `127.0.0.1:${port}` } = options;
  const others = options.routesOf?.(index) ?? ports.map((_, at) => at).filter((at) => at !== index);
  const routes = others.map((to) => `"nats-route://${routeAddress(index, to, ports[to]?.route ?? 0)}"`);
  return `cluster {
  name: ${cluster.name}
  listen: "127.0.0.1:${ports[index]?.route}"
  ${poolSize === null ? "" : `pool_size: ${poolSize}`}
  no_advertise: ${noAdvertise}
  routes: [${routes.join(", ")}]
}`;
}

function configOf(cluster: Cluster, index: number, dir: string): string {
  const { options, ports, user, system } = cluster;
  const { syncInterval = "always", maxFileBytes = MAX_FILE_BYTES } = options;
  return `server_name: ${cluster.name}-${index + 1}
listen: "127.0.0.1:${ports[index]?.client}"
http: "127.0.0.1:${ports[index]?.monitor}"
jetstream {
  store_dir: "${join(dir, "store")}"
  max_memory_store: 16777216
  max_file_store: ${maxFileBytes}
  ${syncInterval === null ? "" : `sync_interval: ${syncInterval}`}
}
accounts {
  FULA { jetstream: enabled, users: [{ nkey: ${user.publicKey} }] }
  SYS { users: [{ nkey: ${system.publicKey} }] }
}
system_account: SYS
${(options.clustered ?? ports.length > 1) ? clusterBlock(cluster, index) : ""}
${options.extra?.(index) ?? ""}
`;
}

async function reach(port: number): Promise<void> {
  const socket = connect(port, "127.0.0.1");
  try {
    await once(socket, "connect");
  } finally {
    socket.destroy();
  }
}

function makeServer(cluster: Cluster, index: number, parent: string): NatsServer {
  const { client = 0, route = 0, monitor = 0 } = cluster.ports[index] ?? {};
  const dir = join(parent, String(index));
  mkdirSync(dir, { recursive: true });
  const configPath = join(dir, "nats.conf");
  writeFileSync(configPath, configOf(cluster, index, dir));
  const monitorUrl = `http://127.0.0.1:${monitor}`;
  return {
    name: `${cluster.name}-${index + 1}`,
    url: `nats://127.0.0.1:${client}`,
    clientPort: client,
    routePort: route,
    monitor: monitorUrl,
    dir,
    configPath,
    process: new DaemonProcess(`nats-server ${index + 1}`, {
      program: binaries().nats,
      args: ["-c", configPath],
      env: {},
      // It answers there from the beginning, also while it waits for others to elect with; clients it lets in later.
      probe: async () => {
        await askHttp(`${monitorUrl}/varz`);
        await reach(client);
      },
    }),
  };
}

const jetStream = z.object({
  meta_cluster: z
    .object({ leader: z.string().optional(), replicas: z.array(z.object({ current: z.boolean() })).optional() })
    .optional(),
});

/**
 * Waits until a leader has heard of all the others. Two of three elect one; a bucket that is made then lies on one server, and
 * whoever asks while the third comes in may find that there is no JetStream.
 */
async function formed(servers: readonly NatsServer[]): Promise<void> {
  await until("the servers have formed a cluster", async () => {
    const views = await Promise.all(
      servers.map(async ({ name, monitor }) => {
        // One that is busy may be slow to answer.
        const answer = await askHttp(`${monitor}/jsz`).catch(() => null);
        return { name, meta: answer === null ? undefined : jetStream.parse(await answer.json()).meta_cluster };
      }),
    );
    const leaders = new Set(views.map(({ meta }) => meta?.leader ?? ""));
    const replicas = views.find(({ name, meta }) => meta?.leader === name)?.meta?.replicas ?? [];
    return leaders.size === 1 && replicas.filter(({ current }) => current).length === servers.length - 1;
  });
}

/** Makes that many servers which know one another and starts them, unless the test wants to do that itself. */
export async function startNatsServers(count: number, options: NatsServerOptions = {}): Promise<NatsServers> {
  const parent = mkdtempSync(join(PARENT, "fula-nats-"));
  const free = await findFreePorts(count * 3);
  const ports = Array.from({ length: count }, (_, at) => ({
    client: free[at * 3] ?? 0,
    route: free[at * 3 + 1] ?? 0,
    monitor: free[at * 3 + 2] ?? 0,
  }));
  const cluster: Cluster = { name: "fula-test", user: newNatsUser(), system: newNatsUser(), options, ports };
  const servers = ports.map((_, index) => makeServer(cluster, index, parent));
  const end = async (): Promise<void> => {
    await Promise.all(servers.map(async (server) => await server.process.kill()));
    rmSync(parent, { recursive: true, force: true });
  };
  if (options.start !== false) {
    try {
      await Promise.all(servers.map(async (server) => await server.process.start()));
      if (count > 1 && options.routesOf === undefined) await formed(servers);
    } catch (error) {
      await end();
      throw error;
    }
  }
  return {
    servers,
    urls: servers.map((server) => server.url),
    user: cluster.user,
    system: cluster.system,
    cluster: cluster.name,
    [Symbol.asyncDispose]: end,
  };
}
