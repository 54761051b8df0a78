import { randomBytes } from "node:crypto";
import type Docker from "dockerode";
import { infra } from "../../infra/infra.ts";
import type { CliRun } from "../../support/cli.ts";
import { runContainer, startNetwork, type TestContainer, type TestNetwork } from "../../support/containers.ts";
import { findFreePorts } from "../../support/daemon-process.ts";
import { until } from "../../support/until.ts";

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
  /** Stops `serve`, also for the boots to come. */
  disable(): Promise<void>;
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
  readonly boxes: readonly [Box, Box];
  readonly network: string;
}

const POSTGRES_PORT = 5432;
const PORTS = { gateway: 9000, api: 6000, ops: 9010, postgres: POSTGRES_PORT } as const;

/** The control plane's server of one box: the settings that count are those of `templates/docker/nats.conf`. */
function natsScript(own: string, all: readonly string[]): string {
  const routes = all.filter((name) => name !== own).map((name) => `"nats://${name}:6222"`);
  return `cat >/nats.conf <<'END'
server_name: "${own}"
listen: "0.0.0.0:4222"
http: "127.0.0.1:8222"
jetstream { store_dir: "/data", max_memory_store: 16777216, max_file_store: 268435456, sync_interval: always }
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

class ContainerBox implements Box {
  readonly name: string;
  readonly host: string;
  readonly ports: Box["ports"];
  readonly #docker: Docker;
  readonly #network: string;
  readonly #natsName: string;
  readonly #parts: Parts;
  #peer: TestContainer | null = null;

  constructor(name: string, network: string, ports: Box["ports"], natsName: string, parts: Parts) {
    this.name = name;
    this.host = parts.master.name;
    this.ports = ports;
    this.#docker = infra().docker;
    this.#network = network;
    this.#natsName = natsName;
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

  async disable(): Promise<void> {
    await this.sh("rm -f /opt/fula-master.enabled; fula-master stop --yes");
  }

  async kill(): Promise<void> {
    await this.#all(async (container) => await container.kill({ signal: "SIGKILL" }));
  }

  async boot(): Promise<void> {
    await this.#all(async (container) => await container.start());
    if (this.#peer !== null) await this.peerWith(this.#peer);
  }

  async freeze(): Promise<void> {
    await this.#all(async (container) => await container.pause());
  }

  async thaw(): Promise<void> {
    await this.#all(async (container) => await container.unpause());
  }

  async cut(): Promise<void> {
    const network = this.#docker.getNetwork(this.#network);
    await this.#all(async ({ id }) => await network.disconnect({ Container: id, Force: true }));
  }

  /** Has its Kubo node stay connected with another's, as `join` of containers has it; its id is known once it runs. */
  async peerWith(kubo: TestContainer): Promise<void> {
    this.#peer = kubo;
    const id = await until(`${kubo.name} runs`, async () => {
      const run = await kubo.exec("ipfs", "id", "-f", "<id>");
      return run.exitCode === 0 && run.stdout.trim() !== "" ? run.stdout.trim() : null;
    });
    const address = `/dns4/${kubo.name}/tcp/4001/p2p/${id}`;
    await until(`the Kubo node of ${this.name} keeps to ${id}`, async () => {
      return (await this.#parts.kubo.exec("ipfs", "swarm", "peering", "add", address)).exitCode === 0;
    });
  }

  async mend(): Promise<void> {
    const network = this.#docker.getNetwork(this.#network);
    const { id: natsId } = this.#parts.nats.container;
    await this.#all(async ({ id }) => {
      // The others know it by a name that it had before it was started.
      const EndpointConfig = id === natsId ? { Aliases: [this.#natsName] } : {};
      await network.connect({ Container: id, EndpointConfig });
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

async function startNats(network: TestNetwork, own: string, all: readonly string[]): Promise<TestContainer> {
  return await runContainer(own, {
    image: infra().images.nats,
    networks: [network.name],
    aliases: [own],
    entrypoint: ["/bin/sh", "-c", natsScript(own, all)],
    command: [],
    user: "0:0",
  });
}

async function startBox(
  name: string,
  network: TestNetwork,
  natsName: string,
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
  return [new ContainerBox(name, network.name, ports, natsName, { ...own, master }), master];
}

interface Joining {
  readonly box: ContainerBox;
  readonly stores: Pick<Parts, "kubo" | "cluster">;
  readonly natsNames: readonly string[];
}

function joinArgs({ box, stores, natsNames }: Joining): readonly string[] {
  const settings: Readonly<Record<string, string>> = {
    "blocks.mode": "kubo",
    "cluster.mode": "rest",
    "controlPlane.mode": "nats",
    "controlPlane.servers": natsNames.map((name) => `nats://${name}:4222`).join(","),
    "postgres.binDir": "/usr/lib/postgresql/15/bin",
    "postgres.announce": `${box.host}:${POSTGRES_PORT}`,
    "gateway.host": "0.0.0.0",
    "server.host": "0.0.0.0",
    "api.host": "0.0.0.0",
    "standby.degradeAfter": "60s",
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

function done(run: CliRun, what: string): CliRun {
  if (run.exitCode !== 0) throw new Error(`${what} ended with ${run.exitCode}\n${run.stdout}\n${run.stderr}`);
  return run;
}

async function joinFirst(joining: Joining): Promise<void> {
  const { box } = joining;
  const own = ["--set", "postgres.mode=embedded", "--set", `postgres.port=${POSTGRES_PORT}`];
  done(await box.run(...joinArgs(joining), ...own), `join of ${box.name}`);
  await box.enable();
  await until(
    `${box.name} lets other boxes in`,
    async () => (await box.sh("grep hostssl /opt/fula-master/state/postgres/pg_hba.conf")).exitCode === 0,
  );
}

/** Joins by a token, and has the box carry a standby. */
async function joinFurther(first: Box, joining: Joining): Promise<void> {
  const { box } = joining;
  const { stdout } = done(await first.run("token", "create", "--role", "master", "--json"), "a token");
  const { token }: { readonly token: string } = JSON.parse(stdout);
  const line = (await first.sh("grep ^POSTGRES_PASSWORD= /opt/fula-master/.env")).stdout.trim();
  const password = encodeURIComponent(line.slice(line.indexOf("=") + 1).replaceAll(/["']/g, ""));
  const url = `postgres://pinning_user:${password}@${first.host}:${POSTGRES_PORT}/pinning_service?sslmode=require`;
  const ledger = ["--set", "postgres.mode=external", "--postgres-url", url];
  done(await box.run(...joinArgs(joining), "--token", token, ...ledger), `join of ${box.name}`);
  await box.enable();
  done(await box.run("standby", "add"), `standby add on ${box.name}`);
}

/** Two masters with a standby on the second, and a third server of the control plane elsewhere. All of it goes with it. */
export async function startBoxes(): Promise<Fleet> {
  await using made = new AsyncDisposableStack();
  const network = made.use(await startNetwork("recovery"));
  const secret = randomBytes(32).toString("hex");
  // Their names are in each other's settings, so they must be known before the first is started.
  const natsNames = ["m1", "m2", "elsewhere"].map((name) => `${network.name}-nats-${name}`);
  const nats: TestContainer[] = [];
  for (const name of natsNames) nats.push(made.use(await startNats(network, name, natsNames)));
  const joinings: Joining[] = [];
  for (const [index, name] of ["m1", "m2"].entries()) {
    const own = nats[index];
    if (own === undefined) throw new Error("no server of the control plane");
    const stores = await startStores(name, network, secret);
    made.use(stores.kubo);
    made.use(stores.cluster);
    const [box, master] = await startBox(name, network, natsNames[index] ?? "", { nats: own, ...stores });
    made.use(master);
    joinings.push({ box, stores, natsNames });
  }
  const [first, second] = joinings;
  if (first === undefined || second === undefined) throw new Error("no boxes");
  await until("Kubo and IPFS Cluster of both boxes answer", async () => {
    const asked = await Promise.all(
      joinings.map(async ({ stores }) => await stores.cluster.exec("ipfs-cluster-ctl", "peers", "ls")),
    );
    return asked.every(
      ({ exitCode, stdout }) =>
        exitCode === 0 && stdout.split("\n").filter((line) => line.includes("Sees")).length === 2,
    );
  });
  await first.box.peerWith(second.stores.kubo);
  await second.box.peerWith(first.stores.kubo);
  await joinFirst(first);
  await joinFurther(first.box, second);
  const all = made.move();
  return {
    boxes: [first.box, second.box],
    network: network.name,
    [Symbol.asyncDispose]: async () => await all.disposeAsync(),
  };
}
