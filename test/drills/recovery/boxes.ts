import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import type Docker from "dockerode";
import { infra } from "../../infra/infra.ts";
import { type CliRun, expectDone } from "../../support/cli.ts";
import { runContainer, startNetwork, type TestContainer, type TestNetwork } from "../../support/containers.ts";
import { findFreePorts } from "../../support/daemon-process.ts";
import { newNatsUser, type NatsUser } from "../../support/nats-servers.ts";
import { until } from "../../support/until.ts";
import { SETTLE_MS } from "./runbook.ts";

/** A master with all that it consists of, which can be killed, frozen and cut off as one. */
export interface Box {
  readonly name: string;
  /** Where others on the federation's network reach it. */
  readonly host: string;
  /** Ports of this machine. */
  readonly ports: { readonly gateway: number; readonly api: number; readonly ops: number; readonly postgres: number };
  /** Runs `fula-master <args>` on it. */
  run(...args: readonly string[]): Promise<CliRun>;
  sh(script: string): Promise<CliRun>;
  /** Starts `serve` now and at every boot. */
  enable(): Promise<void>;
  /** Takes the power away. */
  kill(): Promise<void>;
  boot(): Promise<void>;
  freeze(): Promise<void>;
  thaw(): Promise<void>;
  /** Cuts it off from the other boxes; clients reach it as before. */
  cut(): Promise<void>;
  mend(): Promise<void>;
  log(): Promise<string>;
}

/** Masters with a server of the control plane, Kubo and an IPFS Cluster peer each, on a network of their own. */
export interface Fleet extends AsyncDisposable {
  readonly boxes: readonly [Box, Box, Box];
}

const POSTGRES_PORT = 5432;
const PORTS = { gateway: 9000, api: 6000, ops: 9010, postgres: POSTGRES_PORT } as const;

/** Who may log in to the control plane: with its records, and to look after its servers. */
interface NatsUsers {
  readonly user: NatsUser;
  readonly system: NatsUser;
}

/** The control plane's server of one box: the settings that count are those of `templates/docker/nats.conf`. */
function natsScript(own: string, all: readonly string[], { user, system }: NatsUsers): string {
  const routes = all.filter((name) => name !== own).map((name) => `"nats://${name}:6222"`);
  return `cat >/nats.conf <<'END'
server_name: "${own}"
listen: "0.0.0.0:4222"
http: "127.0.0.1:8222"
jetstream { store_dir: "/data", max_memory_store: 16777216, max_file_store: 268435456, sync_interval: always }
accounts {
  FULA { jetstream: enabled, users: [{ nkey: ${user.publicKey} }] }
  SYS { users: [{ nkey: ${system.publicKey} }] }
}
system_account: SYS
cluster { name: "drill", listen: "0.0.0.0:6222", routes: [${routes.join(", ")}], pool_size: -1, no_advertise: true }
END
mkdir -p /data && exec nats-server --config /nats.conf`;
}

const KUBO_SCRIPT = `set -e
[ -f "$IPFS_PATH/config" ] || ipfs init --empty-repo
ipfs config --json Addresses.API '["/ip4/0.0.0.0/tcp/5001"]'
ipfs config --json Addresses.Swarm '["/ip4/0.0.0.0/tcp/4001"]'
for key in Addresses.Gateway Bootstrap Ipns.DelegatedPublishers; do ipfs config --json "$key" '[]'; done
for key in AutoConf.Enabled Provide.Enabled; do ipfs config --json "$key" false; done
ipfs config --json Discovery.MDNS.Enabled true
ipfs config --json DNS.Resolvers '{}'
ipfs config --json Routing '{"Type":"none","DelegatedRouters":[]}'
exec ipfs daemon`;

/** Asks the daemon or nobody: without an address it would take the repository's lock from a daemon that is about to start. */
const KUBO_CLI = ["ipfs", "--api", "/ip4/127.0.0.1/tcp/5001"] as const;

const CLUSTER_SCRIPT = `set -e
[ -f "$IPFS_CLUSTER_PATH/service.json" ] || ipfs-cluster-service init --consensus crdt
exec ipfs-cluster-service daemon`;

interface Parts {
  readonly nats: TestContainer;
  readonly kubo: TestContainer;
  readonly cluster: TestContainer;
  readonly master: TestContainer;
}

async function startStores(
  name: string,
  network: TestNetwork,
  secret: string,
): Promise<Pick<Parts, "kubo" | "cluster">> {
  const { images } = infra();
  const kubo = await runContainer(`${name}-kubo`, {
    image: images.kubo,
    networks: [network.name],
    entrypoint: ["/bin/sh", "-c", KUBO_SCRIPT],
    command: [],
    env: { IPFS_TELEMETRY: "off" },
  });
  const cluster = await runContainer(`${name}-cluster`, {
    image: images.cluster,
    networks: [network.name],
    entrypoint: ["/bin/sh", "-c", CLUSTER_SCRIPT],
    command: [],
    env: {
      CLUSTER_SECRET: secret,
      CLUSTER_PEERNAME: name,
      CLUSTER_CRDT_TRUSTEDPEERS: "*",
      CLUSTER_LISTENMULTIADDRESS: "/ip4/0.0.0.0/tcp/9096",
      CLUSTER_RESTAPI_HTTPLISTENMULTIADDRESS: "/ip4/0.0.0.0/tcp/9094",
      CLUSTER_IPFSHTTP_NODEMULTIADDRESS: `/dns4/${kubo.name}/tcp/5001`,
      CLUSTER_IPFSHTTP_CONNECTSWARMSDELAY: "1s",
    },
  });
  return { kubo, cluster };
}

const onThisMachine = promisify(execFile);
const LINKS = "/sys/class/net";

/** This machine's end of what connects a container with a network. Pulled out, nothing comes through, and nobody is told. */
async function cableOf(container: Docker.Container, network: string): Promise<string> {
  const { NetworkSettings, State } = await container.inspect();
  const address = NetworkSettings.Networks[network]?.IPAddress ?? "";
  const { stdout } = await onThisMachine("nsenter", ["-t", String(State.Pid), "-n", "ip", "-j", "address"]);
  const links: readonly { readonly link_index?: number; readonly addr_info: readonly { readonly local: string }[] }[] =
    JSON.parse(stdout);
  const own = links.find(({ addr_info: addresses }) => addresses.some(({ local }) => local === address));
  for (const name of await readdir(LINKS)) {
    const index = await readFile(join(LINKS, name, "ifindex"), "utf8").catch(() => "");
    if (Number(index) === own?.link_index) return name;
  }
  throw new Error(`No interface of this machine leads to ${container.id} on ${network}`);
}

class ContainerBox implements Box {
  readonly name: string;
  readonly host: string;
  readonly ports: Box["ports"];
  readonly #docker: Docker;
  readonly #network: string;
  readonly #parts: Parts;
  #peers: readonly TestContainer[] = [];

  constructor(name: string, network: string, ports: Box["ports"], parts: Parts) {
    this.name = name;
    this.host = parts.master.name;
    this.ports = ports;
    this.#docker = infra().docker;
    this.#network = network;
    this.#parts = parts;
  }

  async run(...args: readonly string[]): Promise<CliRun> {
    return await this.#parts.master.exec("fula-master", ...args);
  }

  async sh(script: string): Promise<CliRun> {
    return await this.#parts.master.exec("sh", "-c", script);
  }

  async enable(): Promise<void> {
    await this.sh("touch /opt/fula-master.enabled");
  }

  async kill(): Promise<void> {
    await this.#all(async (container) => await container.kill({ signal: "SIGKILL" }));
  }

  async boot(): Promise<void> {
    await this.#all(async (container) => await container.start());
    await this.peerWith(this.#peers);
  }

  async freeze(): Promise<void> {
    await this.#all(async (container) => await container.pause());
  }

  async thaw(): Promise<void> {
    await this.#all(async (container) => await container.unpause());
  }

  async cut(): Promise<void> {
    await this.#all(async (container) => {
      await onThisMachine("ip", ["link", "set", await cableOf(container, this.#network), "nomaster"]);
    });
  }

  /** Has its Kubo node stay connected with others', as `join` of containers has it; ids are known once those run. */
  async peerWith(kubos: readonly TestContainer[]): Promise<void> {
    this.#peers = kubos;
    for (const kubo of kubos) {
      const id = await until(
        `${kubo.name} runs`,
        async () => {
          const run = await kubo.exec(...KUBO_CLI, "id", "-f", "<id>");
          return run.exitCode === 0 && run.stdout.trim() !== "" ? run.stdout.trim() : null;
        },
        SETTLE_MS,
      );
      const address = `/dns4/${kubo.name}/tcp/4001/p2p/${id}`;
      await until(
        `the Kubo node of ${this.name} keeps to ${id}`,
        async () => (await this.#parts.kubo.exec(...KUBO_CLI, "swarm", "peering", "add", address)).exitCode === 0,
        SETTLE_MS,
      );
    }
  }

  async mend(): Promise<void> {
    const { Id } = await this.#docker.getNetwork(this.#network).inspect();
    await this.#all(async (container) => {
      await onThisMachine("ip", [
        "link",
        "set",
        await cableOf(container, this.#network),
        "master",
        `br-${Id.slice(0, 12)}`,
      ]);
    });
  }

  async log(): Promise<string> {
    return (await this.sh("tail -n 200 /var/log/fula-master.log")).stdout;
  }

  async #all(act: (container: Docker.Container) => Promise<unknown>): Promise<void> {
    const { master, nats, kubo, cluster } = this.#parts;
    await Promise.all([master, nats, kubo, cluster].map(async ({ container }) => await act(container)));
  }
}

async function startNats(
  network: TestNetwork,
  own: string,
  all: readonly string[],
  users: NatsUsers,
): Promise<TestContainer> {
  return await runContainer(own, {
    image: infra().images.nats,
    networks: [network.name],
    aliases: [own],
    entrypoint: ["/bin/sh", "-c", natsScript(own, all, users)],
    command: [],
    user: "0:0",
  });
}

async function startBox(
  name: string,
  network: TestNetwork,
  own: Omit<Parts, "master">,
): Promise<[ContainerBox, TestContainer]> {
  const [gateway = 0, api = 0, ops = 0, postgres = 0] = await findFreePorts(4);
  const ports = { gateway, api, ops, postgres };
  const master = await runContainer(name, {
    image: infra().images.box,
    // Clients come by the one, other boxes by the other.
    networks: ["bridge", network.name],
    ports: { [gateway]: PORTS.gateway, [api]: PORTS.api, [ops]: PORTS.ops, [postgres]: PORTS.postgres },
    isBox: true,
  });
  return [new ContainerBox(name, network.name, ports, { ...own, master }), master];
}

interface Joining {
  readonly box: ContainerBox;
  readonly stores: Pick<Parts, "kubo" | "cluster">;
  readonly natsNames: readonly string[];
  readonly users: NatsUsers;
}

const KEYS = { nkeyFile: "/etc/fula-nats-user.nk", systemNkeyFile: "/etc/fula-nats-system.nk" };

/** What the control plane of containers puts into the box by itself. */
async function putKeys({ box, users }: Joining): Promise<void> {
  const { user, system } = users;
  const put = (seed: string, file: string): string => `printf %s '${seed}' >${file} && chmod 600 ${file}`;
  expectDone(
    await box.sh(`${put(user.seed, KEYS.nkeyFile)} && ${put(system.seed, KEYS.systemNkeyFile)}`),
    "keys of NATS",
  );
}

function joinArgs({ box, stores, natsNames }: Joining): readonly string[] {
  const settings: Readonly<Record<string, string>> = {
    "blocks.mode": "kubo",
    "cluster.mode": "rest",
    "controlPlane.mode": "nats",
    "controlPlane.servers": natsNames.map((name) => `nats://${name}:4222`).join(","),
    // A machine that has much else to do needs longer than the default until a connection stands.
    "controlPlane.timeout": "10s",
    "controlPlane.nkeyFile": KEYS.nkeyFile,
    "controlPlane.systemNkeyFile": KEYS.systemNkeyFile,
    "postgres.binDir": "/usr/lib/postgresql/15/bin",
    "postgres.announce": `${box.host}:${POSTGRES_PORT}`,
    "gateway.host": "0.0.0.0",
    "server.host": "0.0.0.0",
    "api.host": "0.0.0.0",
    "standby.degradeAfter": "60s",
    "billing.enabled": "on",
    "billing.deductionIntervalMs": "1000",
  };
  const places = [
    "--kubo-api",
    `/dns4/${stores.kubo.name}/tcp/5001`,
    "--cluster-api",
    `/dns4/${stores.cluster.name}/tcp/9094`,
  ];
  const sets = Object.entries(settings).flatMap(([key, value]) => ["--set", `${key}=${value}`]);
  return [
    "join",
    "--runtime",
    "embedded",
    "--node-name",
    box.name,
    ...places,
    ...sets,
    "--no-schedules",
    "--no-start",
    "--yes",
  ];
}

async function joinFirst(joining: Joining): Promise<void> {
  const { box } = joining;
  await putKeys(joining);
  const own = ["--set", "postgres.mode=embedded", "--set", `postgres.port=${POSTGRES_PORT}`];
  expectDone(await box.run(...joinArgs(joining), ...own), `join of ${box.name}`);
  await box.enable();
  await until(
    `${box.name} lets other boxes in`,
    async () => (await box.sh("grep hostssl /opt/fula-master/state/postgres/pg_hba.conf")).exitCode === 0,
    SETTLE_MS,
  );
}

/** Joins by a token, and has the box carry a standby. */
async function joinFurther(first: Box, joining: Joining): Promise<void> {
  const { box } = joining;
  await putKeys(joining);
  const { stdout } = expectDone(await first.run("token", "create", "--role", "master", "--json"), "a token");
  const { token }: { readonly token: string } = JSON.parse(stdout);
  const line = (await first.sh("grep ^POSTGRES_PASSWORD= /opt/fula-master/.env")).stdout.trim();
  const password = encodeURIComponent(line.slice(line.indexOf("=") + 1).replaceAll(/["']/g, ""));
  const url = `postgres://pinning_user:${password}@${first.host}:${POSTGRES_PORT}/pinning_service?sslmode=require`;
  const ledger = ["--set", "postgres.mode=external", "--postgres-url", url];
  expectDone(await box.run(...joinArgs(joining), "--token", token, ...ledger), `join of ${box.name}`);
  await box.enable();
  expectDone(await box.run("standby", "add"), `standby add on ${box.name}`);
}

/** Every pair of Kubo nodes and of IPFS Cluster peers is connected before anybody joins. */
async function connectStores(joinings: readonly Joining[]): Promise<void> {
  const areAllThere = async (): Promise<boolean> => {
    const asked = await Promise.all(
      joinings.map(async ({ stores }) => await stores.cluster.exec("ipfs-cluster-ctl", "peers", "ls")),
    );
    return asked.every(
      ({ exitCode, stdout }) =>
        exitCode === 0 &&
        stdout.split("\n").filter((line) => line.includes(`Sees ${joinings.length - 1} other peers`)).length ===
          joinings.length,
    );
  };
  await until("Kubo and IPFS Cluster of all boxes answer", areAllThere, SETTLE_MS);
  await Promise.all(
    joinings.map(async ({ box, stores: own }) => {
      await box.peerWith(joinings.filter(({ stores }) => stores !== own).map(({ stores }) => stores.kubo));
    }),
  );
}

/** Three masters, with standbys of the ledger on the second and the third. All of it goes with the fleet. */
export async function startBoxes(): Promise<Fleet> {
  await using made = new AsyncDisposableStack();
  const network = made.use(await startNetwork("recovery"));
  const secret = randomBytes(32).toString("hex");
  const users = { user: newNatsUser(), system: newNatsUser() };
  const names = ["m1", "m2", "m3"];
  // The servers' names are in each other's settings, so they must be known before the first is started.
  const natsNames = names.map((name) => `${network.name}-nats-${name}`);
  const joinings: Joining[] = [];
  for (const [index, name] of names.entries()) {
    const natsName = natsNames[index] ?? "";
    const nats = made.use(await startNats(network, natsName, natsNames, users));
    const stores = await startStores(name, network, secret);
    made.use(stores.kubo);
    made.use(stores.cluster);
    const [box, master] = await startBox(name, network, { nats, ...stores });
    made.use(master);
    joinings.push({ box, stores, natsNames, users });
  }
  const [first, second, third] = joinings;
  if (first === undefined || second === undefined || third === undefined) throw new Error("no boxes");
  await connectStores(joinings);
  await joinFirst(first);
  await joinFurther(first.box, second);
  await joinFurther(first.box, third);
  const all = made.move();
  return {
    boxes: [first.box, second.box, third.box],
    [Symbol.asyncDispose]: async () => await all.disposeAsync(),
  };
}
