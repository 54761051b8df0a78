import { expectDone } from "../../support/cli.ts";
import type Docker from "dockerode";
import { z } from "zod";
import { infra } from "../../infra/infra.ts";
import { findFreePorts } from "../../support/daemon-process.ts";
import {
  type ContainerWish,
  runContainer,
  runToEnd,
  type TestContainer,
  type TestNetwork,
} from "../../support/containers.ts";
import { type HostMember, type Member, secretOf } from "./member.ts";

/** The second master: fula-master in a container of the project's own image, beside a writer that it adopted. */
export interface ContainerMember extends Member, AsyncDisposable {
  readonly serve: TestContainer;
  /** Port of its gateway on this machine; its own address may be another one each time it is started. */
  readonly gatewayPort: number;
  readonly kubo: TestContainer;
  readonly cluster: TestContainer;
}

const BASE_DIR = "/var/lib/fula-master";
const GATEWAY_PORT = 9000;

/** Runs Kubo as an operator of an existing fleet has it: set up once, its RPC on the address of its own network. */
const KUBO_SCRIPT = `set -e
[ -f "$IPFS_PATH/config" ] || ipfs init --empty-repo
address=$(hostname -i)
ipfs config --json Addresses.API "[\\"/ip4/$address/tcp/5001\\"]"
ipfs config --json Addresses.Swarm '["/ip4/0.0.0.0/tcp/4001"]'
ipfs config --json Addresses.AppendAnnounce "[\\"/ip4/$HOST/tcp/$SWARM_PORT\\"]"
ipfs config --json Peering.Peers "$PEERS"
for key in Addresses.Gateway Bootstrap Ipns.DelegatedPublishers; do ipfs config --json "$key" '[]'; done
for key in AutoConf.Enabled Discovery.MDNS.Enabled Provide.Enabled; do ipfs config --json "$key" false; done
ipfs config --json DNS.Resolvers '{}'
ipfs config --json Routing '{"Type":"none","DelegatedRouters":[]}'
exec ipfs daemon`;

const CLUSTER_SCRIPT = `set -e
[ -f "$IPFS_CLUSTER_PATH/service.json" ] || ipfs-cluster-service init --consensus crdt
exec ipfs-cluster-service daemon --bootstrap "$BOOTSTRAP"`;

const peersSchema = z.object({
  nodes: z.array(
    z.object({
      clusterPeerId: z.string(),
      clusterAddresses: z.array(z.string()).min(1),
      kuboPeerId: z.string(),
      kuboAddresses: z.array(z.string()).min(1),
      isSelf: z.boolean(),
    }),
  ),
});

type FirstMaster = z.infer<typeof peersSchema>["nodes"][number];

/** Where the first master's daemons are, as it tells the federation. */
async function firstOf(master1: HostMember): Promise<FirstMaster> {
  const { stdout } = expectDone(await master1.run("peers", "show", "--json"), "peers show");
  const first = peersSchema.parse(JSON.parse(stdout)).nodes.find(({ isSelf }) => isSelf);
  if (first === undefined) throw new Error("master-1 has not written itself down");
  return first;
}

async function startKubo(network: TestNetwork, host: string, first: FirstMaster): Promise<TestContainer> {
  const [swarmPort = 0] = await findFreePorts(1);
  const addresses = first.kuboAddresses.map((address) => address.replace(/\/p2p\/.*$/, ""));
  return await runContainer("kubo", {
    image: infra().images.kubo,
    networks: [network.name],
    entrypoint: ["/bin/sh", "-c", KUBO_SCRIPT],
    command: [],
    env: {
      HOST: host,
      SWARM_PORT: String(swarmPort),
      PEERS: JSON.stringify([{ ID: first.kuboPeerId, Addrs: addresses }]),
      IPFS_TELEMETRY: "off",
    },
    ports: { [swarmPort]: 4001 },
  });
}

async function startPeer(
  network: TestNetwork,
  host: string,
  kubo: TestContainer,
  first: FirstMaster,
  secret: string,
): Promise<TestContainer> {
  const [swarmPort = 0] = await findFreePorts(1);
  const peer = await runContainer("cluster", {
    image: infra().images.cluster,
    networks: [network.name],
    entrypoint: ["/bin/sh", "-c", CLUSTER_SCRIPT],
    command: [],
    env: {
      BOOTSTRAP: first.clusterAddresses[0] ?? "",
      CLUSTER_SECRET: secret,
      CLUSTER_PEERNAME: "master-2",
      CLUSTER_CRDT_TRUSTEDPEERS: first.clusterPeerId,
      CLUSTER_LISTENMULTIADDRESS: "/ip4/0.0.0.0/tcp/9096",
      CLUSTER_ANNOUNCEMULTIADDRESS: `/ip4/${host}/tcp/${swarmPort}`,
      CLUSTER_RESTAPI_HTTPLISTENMULTIADDRESS: "/ip4/0.0.0.0/tcp/9094",
      CLUSTER_IPFSHTTP_NODEMULTIADDRESS: `/dns4/${kubo.name}/tcp/5001`,
      CLUSTER_IPFSHTTP_CONNECTSWARMSDELAY: "1s",
    },
    ports: { [swarmPort]: 9096 },
  });
  await peer.ready("it answers", async () => (await peer.exec("ipfs-cluster-ctl", "version")).exitCode === 0);
  return peer;
}

/** Joins the second master by a token of the first, on the ledger of the first. */
export async function addSecondMaster(
  prefix: string,
  network: TestNetwork,
  master1: HostMember,
  token: string,
): Promise<ContainerMember> {
  const { docker, images } = infra();
  const first = await firstOf(master1);
  await using made = new AsyncDisposableStack();
  const kubo = made.use(await startKubo(network, network.hostAddress, first));
  const secret = await secretOf(master1, "CLUSTER_SECRET");
  const cluster = made.use(await startPeer(network, network.hostAddress, kubo, first, secret));
  const ledgerHost = master1.container("postgres");
  const wish: ContainerWish = {
    image: images.master,
    // The private way to the ledger that an operator would make with a tunnel.
    networks: [network.name, await networkOf(docker, ledgerHost)],
    volumes: { [`${prefix}-master-2-state`]: BASE_DIR },
    env: { POSTGRES_PASSWORD: await secretOf(master1, "POSTGRES_PASSWORD"), FULA_JOIN_TOKEN: token },
  };
  const adopted = [
    ["--kubo-api", `/dns4/${kubo.name}/tcp/5001`],
    ["--cluster-api", `/dns4/${cluster.name}/tcp/9094`],
    ["--postgres-url", `postgres://pinning_user@${ledgerHost}:5432/pinning_service`],
    ["--node-name", "master-2"],
    // Clients are outside of its container.
    ["--set", "gateway.host=0.0.0.0"],
    // It has no way to run a server of the control plane.
    ["--set", "controlPlane.mode=sqlite"],
  ].flat();
  const joined = await runToEnd(docker, `${prefix}-master-2-join`, {
    ...wish,
    command: ["join", "--runtime", "external", ...adopted, "--no-schedules", "--no-start", "--yes"],
  });
  expectDone(joined, "join of master-2");
  const [gatewayPort = 0] = await findFreePorts(1);
  const serve = made.use(await runContainer("master", { ...wish, env: {}, ports: { [gatewayPort]: GATEWAY_PORT } }));
  await serve.ready("it is ready", async () => (await serve.container.inspect()).State.Health?.Status === "healthy");
  const all = made.move();
  return {
    name: "master-2",
    serve,
    gatewayPort,
    kubo,
    cluster,
    run: async (...args) => await serve.exec("fula-master", ...args),
    [Symbol.asyncDispose]: async () => await all.disposeAsync(),
  };
}

async function networkOf(docker: Docker, container: string): Promise<string> {
  const { NetworkSettings } = await docker.getContainer(container).inspect();
  const [network] = Object.keys(NetworkSettings.Networks);
  if (network === undefined) throw new Error(`${container} is on no network`);
  return network;
}
