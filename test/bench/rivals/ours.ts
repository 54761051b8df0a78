import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { execa } from "execa";
import { Client } from "pg";
import { z } from "zod";
import { loadConfig, type LoadedConfig } from "../../../src/lib/config/load.ts";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { readJournal } from "../../../src/lib/kernel/journal.ts";
import { findFreePorts } from "../../support/daemon-process.ts";
import { type NatsServers, startNatsServers } from "../../support/nats-servers.ts";
import { PG_BIN_DIR, PG_HOST } from "../../support/postgres-pair.ts";
import { until } from "../../support/until.ts";
import { killTree, readLeader, type RivalCluster } from "./rival.ts";

const LAUNCHER = join(import.meta.dirname, "../../../bin/fula-master.js");
const NAMES = ["m1", "m2", "m3"] as const;
type Name = (typeof NAMES)[number];
const SETTLE_MS = 120_000;

interface Box {
  readonly name: Name;
  readonly baseDir: string;
  readonly ports: {
    readonly server: number;
    readonly gateway: number;
    readonly api: number;
    readonly postgres: number;
  };
}

const refusal = z.object({ error: z.object({ details: z.object({ endpoint: z.string() }) }) });

const standbyStatus = z.object({
  epoch: z.object({ phase: z.string(), primary: z.string(), syncSet: z.array(z.string()), syncNeeded: z.number() }),
  own: z.object({ role: z.string() }),
  standbys: z.array(z.object({ node: z.string(), state: z.string(), replication: z.string().nullable() })),
});

const ended = z.object({ journal: z.string() });

/** Runs the real launcher as an operator does. @returns its stdout @throws where it does not end with 0 */
async function run(box: Box, ...args: readonly string[]): Promise<string> {
  const env = { PATH: process.env["PATH"], HOME: process.env["HOME"], NO_COLOR: "1" };
  const { stdout } = await execa(process.execPath, [LAUNCHER, ...args, "--base-dir", box.baseDir], {
    env,
    extendEnv: false,
  });
  return stdout;
}

function joinArgs({ name, ports }: Box, servers: NatsServers, dir: string): readonly string[] {
  const settings = {
    "controlPlane.mode": "nats",
    "controlPlane.servers": servers.urls.join(","),
    "controlPlane.nkeyFile": join(dir, "user.nk"),
    "controlPlane.systemNkeyFile": join(dir, "system.nk"),
    "postgres.binDir": PG_BIN_DIR,
    "postgres.announce": `${PG_HOST}:${ports.postgres}`,
  };
  const set = Object.entries(settings).map(([key, value]) => `${key}=${value}`);
  const words = `join --runtime embedded --yes --no-schedules --node-name ${name} --announce ${PG_HOST} --server-port ${ports.server} --gateway-port ${ports.gateway} --api-port ${ports.api}`;
  return [...words.split(" "), "--set", ...set];
}

async function load({ baseDir }: Box): Promise<LoadedConfig> {
  return await loadConfig({ globals: { baseDir }, env: {}, cwd: "/" });
}

/** A further master on the ledger of the first: without an IPFS Cluster there are no tokens, so it is admitted by name. */
async function joinFurther(first: Box, box: Box, args: readonly string[]): Promise<void> {
  const { config, secrets } = await load(first);
  const { database, user } = config.postgres;
  mkdirSync(box.baseDir, { recursive: true });
  copyFileSync(join(first.baseDir, ".env"), join(box.baseDir, ".env"));
  const url = `postgres://${user}:${secrets.postgresPassword?.reveal() ?? ""}@${PG_HOST}:${first.ports.postgres}/${database}`;
  const ledger = ["--postgres-url", url, "--set", `node.clusterId=${config.node.clusterId ?? ""}`];
  const refused = await run(box, ...args, ...ledger, "--json").catch(
    (error: unknown) => z.object({ stderr: z.string() }).parse(error).stderr,
  );
  const { endpoint } = refusal.parse(JSON.parse(refused.split("\n").at(-1) ?? "")).error.details;
  await run(first, "membership", "member", "add", "masters", endpoint, "--name", box.name);
  await run(box, ...args, ...ledger);
}

function servePid({ baseDir }: Box): number {
  try {
    return Number(readFileSync(join(baseDir, "state/serve.pid"), "utf8").split("\n")[0]);
  } catch {
    return 0;
  }
}

/** The first master writes itself down where it has an IPFS Cluster; what is written as a proof is a change of that row. */
async function writeDown(cluster: OurCluster, first: Box): Promise<void> {
  const { config } = await load(first);
  const client = await cluster.connect();
  await client.query(
    "insert into federation_nodes (name, role, cluster_id, version) values ($1, 'master', $2, '1') on conflict do nothing",
    [first.name, config.node.clusterId],
  );
  await client.end();
}

class OurCluster implements RivalCluster {
  readonly name = "fula-master";
  readonly ports: readonly number[];
  readonly #boxes: ReadonlyMap<string, Box>;
  readonly #killed = new Set<string>();
  readonly #servers: NatsServers;
  login = { user: "", password: "", database: "" };

  constructor(boxes: readonly Box[], servers: NatsServers) {
    this.#boxes = new Map(boxes.map((box) => [box.name, box]));
    this.ports = boxes.map(({ ports }) => ports.postgres);
    this.#servers = servers;
  }

  #box(name: string): Box {
    const box = this.#boxes.get(name);
    if (box === undefined) throw new Error(`no box ${name}`);
    return box;
  }

  #living(): readonly Box[] {
    return [...this.#boxes.values()].filter(({ name }) => !this.#killed.has(name));
  }

  async leader(): Promise<string> {
    const names = this.#living().map(({ name }) => name);
    return await readLeader(names, (name) => this.#box(name).ports.postgres, this.login);
  }

  async settled(): Promise<void> {
    await until(
      "both others stream, commits wait for one of them, and all know it",
      async () => {
        const box = this.#box(await this.leader());
        const { epoch, own, standbys } = standbyStatus.parse(
          JSON.parse(await run(box, "standby", "status", "--json").catch(toStdout)),
        );
        const copies = standbys.filter(({ node }) => node !== box.name);
        return (
          epoch.phase === "open" &&
          own.role === "primary" &&
          epoch.syncSet.length === NAMES.length - 1 &&
          epoch.syncNeeded === 1 &&
          copies.length === NAMES.length - 1 &&
          copies.every(({ state, replication }) => state === "standby" && replication === "streaming")
        );
      },
      SETTLE_MS,
    );
  }

  async connect(): Promise<Client> {
    const { postgres } = this.#box(await this.leader()).ports;
    const client = new Client({ host: PG_HOST, port: postgres, ...this.login });
    client.on("error", () => {});
    await client.connect();
    return client;
  }

  async switchover(): Promise<void> {
    const from = await this.leader();
    const to = NAMES.find((name) => name !== from) ?? "";
    await run(this.#box(from), "switchover", "--to", to, "--yes");
  }

  async kill(): Promise<string> {
    const name = await this.leader();
    const box = this.#box(name);
    this.#killed.add(name);
    killTree(servePid(box), join(box.baseDir, "state/postgres/data"));
    return name;
  }

  async failover(): Promise<number | null> {
    const [box] = this.#living();
    if (box === undefined) throw new Error("no box lives");
    const { journal } = ended.parse(
      JSON.parse(await run(box, "failover", "--fence", "--force-fence", "--yes", "--json")),
    );
    for await (const { at } of readJournal(journal))
      return systemClock.monotonicMs() - (systemClock.nowMs() - Date.parse(at));
    return null;
  }

  async revive(name: string): Promise<void> {
    const box = this.#box(name);
    this.#killed.delete(name);
    await run(box, "start");
    await run(box, "resync", "--yes");
    await this.settled();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const box of this.#boxes.values()) killTree(servePid(box), join(box.baseDir, "state/postgres/data"));
    await this.#servers[Symbol.asyncDispose]();
  }
}

function toStdout(error: unknown): string {
  return z.object({ stdout: z.string() }).parse(error).stdout;
}

/** Three masters, each `fula-master serve` with its PostgreSQL, on three servers of the control plane. */
export async function startOurs(dir: string): Promise<OurCluster> {
  mkdirSync(dir, { recursive: true });
  await using made = new AsyncDisposableStack();
  const servers = await startNatsServers(NAMES.length);
  writeFileSync(join(dir, "user.nk"), servers.user.seed, { mode: 0o600 });
  writeFileSync(join(dir, "system.nk"), servers.system.seed, { mode: 0o600 });
  const free = await findFreePorts(NAMES.length * 4);
  const boxes = NAMES.map((name, index): Box => {
    const [server = 0, gateway = 0, api = 0, postgres = 0] = free.slice(index * 4);
    return { name, baseDir: join(dir, name), ports: { server, gateway, api, postgres } };
  });
  const cluster = made.use(new OurCluster(boxes, servers));
  const [first, ...further] = boxes;
  if (first === undefined) throw new Error("there are no boxes");
  await run(first, ...joinArgs(first, servers, dir), "--set", `postgres.port=${first.ports.postgres}`);
  const { config, secrets } = await load(first);
  const { user, database } = config.postgres;
  cluster.login = { user, database, password: secrets.postgresPassword?.reveal() ?? "" };
  for (const box of further) await joinFurther(first, box, joinArgs(box, servers, dir));
  await writeDown(cluster, first);
  for (const box of further) await run(box, "standby", "add");
  await cluster.settled();
  made.move();
  return cluster;
}
