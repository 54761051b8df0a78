import { execFile } from "node:child_process";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { Wallet } from "ethers";
import { type ClusterPeer, startCluster } from "../../support/cluster-processes.ts";
import { askHttp, DaemonProcess } from "../../support/daemon-process.ts";
import { makeStorageBox, nodeOf, TEST_CLUSTER_ID } from "../../support/storage-node.ts";
import { type DrillGateway, makeTwoGateways, type TwoGateways } from "../../support/two-gateways.ts";

const LAUNCHER = join(import.meta.dirname, "../../../bin/fula-master.js");
const CHAIN_ID = 8_453;
const HOUR_S = 3_600;

/** Two masters on one ledger, Kubo and writer, and a storage node with a Kubo and a follower of its own; all processes. */
export interface IdentityFederation extends AsyncDisposable {
  readonly masters: TwoGateways;
  readonly follower: ClusterPeer;
  /** Base URL of the storage node's entrance. */
  readonly node: string;
  readonly nodeProcess: DaemonProcess;
  /** Runs a command on the first master's box. @returns what it prints with `--json` */
  command(...args: readonly string[]): Promise<unknown>;
}

/** Starts it. */
export async function startIdentityFederation(): Promise<IdentityFederation> {
  const opened = new AsyncDisposableStack();
  try {
    const cluster = opened.use(await startCluster([{ name: "writer" }, { name: "follower", follower: true }]));
    const { kubo, api } = cluster.peer("writer");
    const masters = opened.use(
      await makeTwoGateways({
        blocks: { mode: "kubo", kuboApi: kubo.apiAddress },
        cluster: { mode: "rest", api, replicationMin: 1, replicationMax: 2 },
        gateway: { remoteCidPut: true },
        identity: { eip712: "v2", eip712ChainIds: [CHAIN_ID] },
      }),
    );
    const follower = cluster.peer("follower");
    const [first, second] = masters.both;
    const box = await makeStorageBox(
      nodeOf(first.box, follower.kubo.api, {
        cluster: follower.api,
        masters: [apiOf(second), apiOf(first)],
        more: { identity: { eip712: "v2", eip712ChainIds: [CHAIN_ID] } },
      }),
    );
    opened.defer(async () => {
      await rm(box.baseDir, { recursive: true, force: true });
    });
    const node = `http://127.0.0.1:${box.port}`;
    const nodeProcess = opened.use(
      new DaemonProcess("storage node", {
        program: process.execPath,
        args: [LAUNCHER, "serve", "--base-dir", box.baseDir],
        env: { NO_COLOR: "1" },
        probe: async () => {
          const answer = await askHttp(`${node}/health`);
          if (answer.status !== 200) throw new Error(`/health answers ${answer.status}: ${await answer.text()}`);
        },
      }),
    );
    await masters.start();
    await nodeProcess.start();
    return {
      masters,
      follower,
      node,
      nodeProcess,
      command: async (...args) => {
        const words = [LAUNCHER, ...args, "--json", "--base-dir", first.box.baseDir];
        const { stdout } = await promisify(execFile)(process.execPath, words);
        return JSON.parse(stdout);
      },
      [Symbol.asyncDispose]: async () => {
        await opened.disposeAsync();
      },
    };
  } catch (error) {
    await opened.disposeAsync();
    throw error;
  }
}

/** Base URL of a master's S3 gateway. */
export function gatewayOf({ box }: DrillGateway): string {
  return `http://127.0.0.1:${box.ports.gateway}`;
}

/** Base URL of a master's API and pinning service. */
export function apiOf({ box }: DrillGateway): string {
  return `http://127.0.0.1:${box.ports.api}`;
}

const TYPES = {
  FulaAuth: [
    { name: "wallet", type: "address" },
    { name: "audience", type: "string" },
    { name: "scope", type: "string" },
    { name: "iat", type: "uint256" },
    { name: "exp", type: "uint256" },
    { name: "nonce", type: "bytes32" },
  ],
};

/** Signs in with a wallet as a web page does, with ethers and nothing of ours. @param nowMs when it is signed */
export async function signIn(
  wallet: Wallet,
  nowMs: number,
  audience = `federation:${TEST_CLUSTER_ID}`,
): Promise<string> {
  const iat = Math.floor(nowMs / 1_000);
  const value = {
    wallet: wallet.address.toLowerCase(),
    audience,
    scope: "storage:*",
    iat,
    exp: iat + HOUR_S,
    nonce: Wallet.createRandom().privateKey,
  };
  const domain = { name: "Fula Gateway", version: "2", chainId: CHAIN_ID };
  const signature = await wallet.signTypedData(domain, TYPES, value);
  const { wallet: address, scope, exp, nonce } = value;
  const payload = JSON.stringify({ wallet: address, audience, chainId: CHAIN_ID, scope, iat, exp, nonce });
  const parts = [Buffer.from(payload, "utf8"), Buffer.from(signature.slice(2), "hex")];
  return `fula-eip712v2.${parts.map((part) => part.toString("base64url")).join(".")}`;
}
