import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { nkeys } from "@nats-io/transport-node";
import { stringify } from "yaml";
import { z } from "zod";
import { loadConfig, type LoadedConfig } from "../../src/lib/config/load.ts";
import { systemClock } from "../../src/lib/kernel/clock.ts";
import {
  controlPlaneKeyFiles,
  ensureControlPlaneKeys,
  readAuthority,
  readControlPlaneKeys,
} from "../../src/lib/stack/control-plane-keys.ts";
import { natsFiles } from "../../src/lib/stack/nats-files.ts";
import { binaries } from "../infra/daemons.ts";
import { askHttp, DaemonProcess } from "./daemon-process.ts";
import { CLUSTER_ID } from "./federation.ts";
import { makeNamespace, type Namespace } from "./namespace.ts";
import { type NetworkPlace, startNetworkOf, type TestNetwork } from "./nats-network.ts";
import type { NatsUser } from "./nats-servers.ts";
import { until } from "./until.ts";

/** A nats-server on a machine of its own, with the configuration that operators get. */
export interface PlacedServer {
  readonly name: string;
  readonly place: NetworkPlace;
  /** For clients. */
  readonly url: string;
  /** The directory of its store, as this process reaches it. */
  readonly data: string;
  /** `start`, `stop`, `kill`, `freeze`, `thaw`, `log`. */
  readonly process: DaemonProcess;
}

/** Servers of one federation; gone with their network and stores when they are disposed of. */
export interface PlacedServers extends AsyncDisposable {
  readonly network: TestNetwork;
  readonly servers: readonly PlacedServer[];
  /** Whom every server lets in to its records. */
  readonly user: NatsUser;
}

/** How they differ from what operators get. */
export interface PlacementOptions {
  /** Servers that each is told of; default all others. */
  readonly routesOf?: (index: number) => readonly number[];
  /** True for one that has yet to be taken in by others, as a master that comes with a token. Default none. */
  readonly isJoining?: (index: number) => boolean;
  /** Changes the configuration: the control of a test takes a remedy out of it. */
  readonly edit?: (config: string, index: number) => string;
  /** Changes what it includes: how others reach the server, and whom it dials. */
  readonly editRoutes?: (routes: string, index: number) => string;
  /** Size of a disk that holds the store of that server alone, in KiB. Default none. */
  readonly tinyDiskKiB?: (index: number) => number | null;
}

/** Every write waits for the disk; one in memory keeps it across a kill -9 as well. */
const PARENT = existsSync("/dev/shm") ? "/dev/shm" : tmpdir();
const TEMPLATE = join(import.meta.dirname, "../../templates/docker/nats.conf");
const CLIENT_PORT = 4_222;
const ROUTE_PORT = 6_222;
const MONITOR_PORT = 8_222;

function newUser(): NatsUser {
  const pair = nkeys.createUser();
  return { publicKey: pair.getPublicKey(), seed: new TextDecoder().decode(pair.getSeed()) };
}

/** Replaces what must be there: a control from which nothing was taken would prove nothing. */
export function replaceIn(config: string, what: string | RegExp, by: string): string {
  const changed = config.replace(what, by);
  if (changed === config) throw new Error(`The configuration has no ${what}:\n${config}`);
  return changed;
}

interface Federation {
  readonly network: TestNetwork;
  readonly parent: string;
  readonly user: NatsUser;
  readonly options: PlacementOptions;
}

const nameOf = (index: number): string => `master-${index + 1}`;
const dirOf = ({ parent }: Federation, index: number): string => join(parent, nameOf(index));

/** Gives each box its keys, as `join` does: the first makes the authority, the others get it. */
async function makeKeys(federation: Federation): Promise<void> {
  const { network, user } = federation;
  for (const [index, { address }] of network.places.entries()) {
    const keysDir = join(dirOf(federation, index), "keys");
    await mkdir(keysDir, { recursive: true });
    const files = controlPlaneKeyFiles(keysDir);
    // A client of a test talks to several of them, so they let in the same one.
    await writeFile(files.userSeed, user.seed);
    const authority = index === 0 ? null : await readAuthority(join(dirOf(federation, 0), "keys"));
    const node = { name: nameOf(index), announce: address };
    await ensureControlPlaneKeys(keysDir, { clusterId: CLUSTER_ID, node, authority }, systemClock);
  }
}

/** The settings of a master as `join` leaves them. */
async function settingsOf(federation: Federation, index: number): Promise<LoadedConfig> {
  const { network, options } = federation;
  const others = options.routesOf?.(index) ?? network.places.keys().filter((other) => other !== index);
  const yaml = stringify({
    runtime: "docker",
    node: { name: nameOf(index), announce: placeAt(network, index).address, clusterId: CLUSTER_ID },
    controlPlane: {
      routes: [...others].map((other) => `${placeAt(network, other).address}:${ROUTE_PORT}`),
      joining: options.isJoining?.(index) ?? false,
    },
  });
  const baseDir = dirOf(federation, index);
  await writeFile(join(baseDir, "fula-master.yaml"), yaml, { mode: 0o600 });
  return await loadConfig({ globals: { baseDir }, env: {}, cwd: "/" });
}

/** Writes what the server reads, as `join` does. @returns the path of its configuration */
async function writeFiles(federation: Federation, index: number): Promise<string> {
  const dir = dirOf(federation, index);
  const { address } = placeAt(federation.network, index);
  const loaded = await settingsOf(federation, index);
  const keys = await readControlPlaneKeys(loaded.paths.keysDir);
  const template = { text: await readFile(TEMPLATE, "utf8"), path: TEMPLATE };
  for (const { name, content } of natsFiles(loaded, template, keys)) {
    await mkdir(dirname(join(dir, name)), { recursive: true });
    await writeFile(join(dir, name), content);
  }
  const configPath = join(dir, "docker/nats.conf");
  let config = await readFile(configPath, "utf8");
  // What differs is where a container has its files, and what it calls itself in its own network.
  config = replaceIn(config, '"/data"', `"${join(dir, "data")}"`);
  config = replaceIn(config, /\/run\/secrets\/nats/g, join(dir, "secrets/nats"));
  await writeFile(configPath, federation.options.edit?.(config, index) ?? config);
  const routesPath = join(dir, "docker/nats/routes.conf");
  const routes = replaceIn(await readFile(routesPath, "utf8"), /nats-route:\/\/nats:/g, `nats-route://${address}:`);
  await writeFile(routesPath, federation.options.editRoutes?.(routes, index) ?? routes);
  return configPath;
}

/** Something small to keep a store on, which can be filled up and outlives the server. */
async function mountTinyDisk(path: string, sizeKiB: number): Promise<Namespace> {
  const namespace = await makeNamespace("mnt");
  await namespace.run("mount", "-t", "tmpfs", "-o", `size=${sizeKiB}k`, "tmpfs", path);
  return namespace;
}

function placeAt({ places }: TestNetwork, index: number): NetworkPlace {
  const place = places[index];
  if (place === undefined) throw new Error(`There is no place ${index}`);
  return place;
}

async function makeServer(federation: Federation, index: number, made: AsyncDisposableStack): Promise<PlacedServer> {
  const place = placeAt(federation.network, index);
  const dir = dirOf(federation, index);
  await mkdir(join(dir, "data"), { recursive: true });
  const configPath = await writeFiles(federation, index);
  const sizeKiB = federation.options.tinyDiskKiB?.(index) ?? null;
  const disk = sizeKiB === null ? null : made.use(await mountTinyDisk(join(dir, "data"), sizeKiB));
  const there = place.inside(binaries().nats, ["--config", configPath, "--name", nameOf(index)]);
  const { program, args } =
    disk === null ? there : { program: "nsenter", args: [disk.entrance, there.program, ...there.args] };
  return {
    name: nameOf(index),
    place,
    url: `nats://${place.address}:${CLIENT_PORT}`,
    data: disk === null ? join(dir, "data") : `/proc/${disk.pid}/root${join(dir, "data")}`,
    process: new DaemonProcess(nameOf(index), {
      program,
      args,
      env: {},
      probe: async () => {
        await askHttp(`http://${place.address}:${MONITOR_PORT}/varz`);
      },
    }),
  };
}

/** Makes that many servers, each on a machine of its own; the test starts them. Needs root. */
export async function placeNatsServers(count: number, options: PlacementOptions = {}): Promise<PlacedServers> {
  await using made = new AsyncDisposableStack();
  const network = made.use(await startNetworkOf(count));
  const parent = await mkdtemp(join(PARENT, "fula-nats-"));
  made.defer(async () => await rm(parent, { recursive: true, force: true }));
  const federation = { network, parent, user: newUser(), options };
  await makeKeys(federation);
  const servers: PlacedServer[] = [];
  for (const index of network.places.keys()) servers.push(await makeServer(federation, index, made));
  made.defer(async () => {
    await Promise.all(servers.map(async ({ process }) => await process.kill()));
  });
  const all = made.move();
  return {
    network,
    servers,
    user: federation.user,
    [Symbol.asyncDispose]: async () => await all.disposeAsync(),
  };
}

/** The server of this number. */
export function serverAt({ servers }: PlacedServers, index: number): PlacedServer {
  const server = servers[index];
  if (server === undefined) throw new Error(`There is no server ${index}`);
  return server;
}

const metaSchema = z.object({
  meta_cluster: z
    .object({
      leader: z.string().default(""),
      cluster_size: z.int(),
      replicas: z.array(z.object({ name: z.string(), current: z.boolean() })).default([]),
    })
    .optional(),
});

/** What a server says of the group that leads JetStream. */
export interface MetaGroup {
  /** Empty where it knows of none. */
  readonly leader: string;
  readonly size: number;
  /** Servers that it knows to be up to date; complete on the leader alone. */
  readonly current: readonly string[];
}

/** @returns null where it does not answer, or forms no group */
export async function metaGroupAt({ place }: PlacedServer): Promise<MetaGroup | null> {
  try {
    const answer = await askHttp(`http://${place.address}:${MONITOR_PORT}/jsz`);
    const { meta_cluster: meta } = metaSchema.parse(await answer.json());
    if (meta === undefined) return null;
    const current = meta.replicas.filter((replica) => replica.current).map(({ name }) => name);
    return { leader: meta.leader, size: meta.cluster_size, current: current.toSorted() };
  } catch {
    return null;
  }
}

/** What the server's health check is told, as the one of its container: null where all is well. */
export async function complaintOf({ place }: PlacedServer): Promise<string | null> {
  const answer = await fetch(`http://${place.address}:${MONITOR_PORT}/healthz?js-enabled-only=true`);
  return answer.ok ? null : await answer.text();
}

const streamsSchema = z.object({
  account_details: z.array(
    z.object({
      stream_detail: z
        .array(z.object({ name: z.string(), cluster: z.object({ leader: z.string().default("") }) }))
        .default([]),
    }),
  ),
});

/** The server that leads a stream, as all of them say. */
export async function streamLeader({ servers }: PlacedServers, stream: string): Promise<PlacedServer> {
  return await until(`${stream} has a leader`, async () => {
    const names = await Promise.all(
      servers.map(async ({ place }) => {
        const url = `http://${place.address}:${MONITOR_PORT}/jsz?streams=true`;
        const answer: unknown = await askHttp(url)
          .then(async (it) => await it.json())
          .catch(() => null);
        const details = streamsSchema.safeParse(answer).data?.account_details.flatMap((each) => each.stream_detail);
        return details?.find(({ name }) => name === stream)?.cluster.leader;
      }),
    );
    return names.every((name) => name === names[0]) && servers.find(({ name }) => name === names[0]);
  });
}

const routesSchema = z.object({ num_routes: z.int() });

/** How many connections a server has with others; null where it does not answer. */
export async function routesAt({ place }: PlacedServer): Promise<number | null> {
  try {
    const answer = await askHttp(`http://${place.address}:${MONITOR_PORT}/routez`);
    return routesSchema.parse(await answer.json()).num_routes;
  } catch {
    return null;
  }
}

/** Waits until all of these know the same leader, other than `except`. @returns its name */
export async function agreedLeader(
  servers: readonly PlacedServer[],
  { except = "", withinMs = 60_000 }: { readonly except?: string; readonly withinMs?: number } = {},
): Promise<string> {
  return await until(
    `${servers.map(({ name }) => name).join(", ")} know one leader`,
    async () => {
      const groups = await Promise.all(servers.map(metaGroupAt));
      const leader = groups[0]?.leader ?? "";
      return leader !== except && leader !== "" && groups.every((group) => group?.leader === leader) && leader;
    },
    withinMs,
  );
}
