import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { builtBinaries } from "../infra/infra.ts";
import { askHttp, DaemonProcess, findFreePorts, runOnce } from "./daemon-process.ts";
import { until } from "./until.ts";

/** A real Kubo on loopback that knows nobody but its peers. */
export interface KuboProcess extends AsyncDisposable {
  readonly peerId: string;
  /** `http://127.0.0.1:<port>`, without `/api/v0`. */
  readonly api: string;
  /** `/ip4/127.0.0.1/tcp/<port>`, as the setting and IPFS Cluster want it. */
  readonly apiAddress: string;
  /** `/ip4/127.0.0.1/tcp/<port>/p2p/<id>` */
  readonly swarmAddress: string;
  readonly repo: string;
  readonly process: DaemonProcess;
  /** Runs `ipfs <args>` against it. @returns stdout */
  ipfs(...args: readonly string[]): string;
}

interface Repo {
  readonly dir: string;
  readonly peerId: string;
  readonly apiPort: number;
  readonly swarmPort: number;
}

interface KuboConfig {
  readonly Identity: { readonly PeerID: string };
  [section: string]: unknown;
}

function initRepo(dir: string, apiPort: number, swarmPort: number): Repo {
  runOnce(builtBinaries().ipfs, ["init", "--profile=test", "--empty-repo"], { IPFS_PATH: dir });
  const config: KuboConfig = JSON.parse(readFileSync(join(dir, "config"), "utf8"));
  return { dir, peerId: config.Identity.PeerID, apiPort, swarmPort };
}

const swarmAddressOf = (repo: Repo): string => `/ip4/127.0.0.1/tcp/${repo.swarmPort}`;

/** No bootstrap, no routing, no discovery: blocks come from the peers, or not at all. */
function configure(repo: Repo, all: readonly Repo[]): void {
  const path = join(repo.dir, "config");
  const config: KuboConfig = JSON.parse(readFileSync(path, "utf8"));
  const peers = all.filter((other) => other !== repo);
  const changed = {
    ...config,
    Addresses: {
      API: [`/ip4/127.0.0.1/tcp/${repo.apiPort}`],
      Gateway: [],
      Swarm: [swarmAddressOf(repo)],
      Announce: [],
      AppendAnnounce: [],
      NoAnnounce: [],
    },
    AutoConf: { Enabled: false },
    AutoTLS: { Enabled: false },
    Bootstrap: [],
    DNS: { Resolvers: {} },
    Discovery: { MDNS: { Enabled: false } },
    Ipns: { DelegatedPublishers: [] },
    Peering: { Peers: peers.map((peer) => ({ ID: peer.peerId, Addrs: [swarmAddressOf(peer)] })) },
    Provide: { Enabled: false },
    Routing: { Type: "none", DelegatedRouters: [] },
  };
  writeFileSync(path, JSON.stringify(changed, null, 2));
}

function kuboProcess(repo: Repo, name: string): KuboProcess {
  const { ipfs } = builtBinaries();
  const isPrivate = existsSync(join(repo.dir, "swarm.key"));
  const env = { IPFS_PATH: repo.dir, IPFS_TELEMETRY: "off", ...(isPrivate ? { LIBP2P_FORCE_PNET: "1" } : {}) };
  const api = `http://127.0.0.1:${repo.apiPort}`;
  const daemon = new DaemonProcess(name, {
    program: ipfs,
    args: ["daemon"],
    env,
    probe: async () => {
      await askHttp(`${api}/api/v0/version`, "POST");
    },
  });
  return {
    peerId: repo.peerId,
    api,
    apiAddress: `/ip4/127.0.0.1/tcp/${repo.apiPort}`,
    swarmAddress: `${swarmAddressOf(repo)}/p2p/${repo.peerId}`,
    repo: repo.dir,
    process: daemon,
    ipfs: (...args) => runOnce(ipfs, args, env),
    [Symbol.asyncDispose]: async () => {
      await daemon.kill();
    },
  };
}

/**
 * Starts that many, each knowing the others' addresses and keeping the connection, also after one was restarted.
 * @param swarmKeyOf the key of each one's private network, 64 hex digits; null = the public one
 */
export async function startKubos(
  count: number,
  swarmKeyOf: (index: number) => string | null = () => null,
): Promise<AsyncDisposable & { readonly nodes: readonly KuboProcess[] }> {
  const dir = mkdtempSync(join(tmpdir(), "fula-kubo-"));
  const ports = await findFreePorts(count * 2);
  const repos = Array.from({ length: count }, (_, index) =>
    initRepo(join(dir, String(index)), ports[index * 2] ?? 0, ports[index * 2 + 1] ?? 0),
  );
  for (const [index, repo] of repos.entries()) {
    configure(repo, repos);
    const key = swarmKeyOf(index);
    if (key !== null) writeFileSync(join(repo.dir, "swarm.key"), `/key/swarm/psk/1.0.0/\n/base16/\n${key}\n`);
  }
  const nodes = repos.map((repo, index) => kuboProcess(repo, `kubo ${index}`));
  const end = async (): Promise<void> => {
    await Promise.all(nodes.map(async (node) => await node[Symbol.asyncDispose]()));
    rmSync(dir, { recursive: true, force: true });
  };
  try {
    await Promise.all(nodes.map(async (node) => await node.process.start()));
  } catch (error) {
    await end();
    throw error;
  }
  return { nodes, [Symbol.asyncDispose]: end };
}

/** Connects each with all others. Their own attempts wait for seconds after one that came before the other was up. */
export async function connectAll(nodes: readonly KuboProcess[]): Promise<void> {
  for (const [index, node] of nodes.entries()) {
    for (const other of nodes.slice(index + 1)) {
      await until(`${node.process.name} is connected with ${other.process.name}`, async () => {
        const url = `${node.api}/api/v0/swarm/connect?arg=${other.swarmAddress}`;
        const answer = await fetch(url, { method: "POST" });
        await answer.text();
        return answer.ok;
      });
    }
  }
}

/** Starts one. When it is disposed of, it is gone with its repository. */
export async function startKubo(): Promise<KuboProcess> {
  const { nodes, [Symbol.asyncDispose]: end } = await startKubos(1);
  const [node] = nodes;
  if (node === undefined) throw new Error("no node");
  return { ...node, [Symbol.asyncDispose]: end };
}
