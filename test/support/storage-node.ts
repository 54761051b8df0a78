import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { blake3 } from "@noble/hashes/blake3.js";
import { CID } from "multiformats/cid";
import { create as createMultihash } from "multiformats/hashes/digest";
import { BLAKE3, RAW_CODEC } from "../../src/lib/blocks/cid.ts";
import { loadConfig } from "../../src/lib/config/load.ts";
import { findFreePort } from "./free-port.ts";
import type { ServingBox } from "./serving.ts";
import { startTestServer, type TestServer } from "./serving.ts";

/** Where a storage node of a test stands. */
export interface StorageNodeFacts {
  /** URL of its Kubo's RPC API. */
  readonly kubo: string;
  /** URL of its cluster peer's REST API; one that nobody listens on where it is left out. */
  readonly cluster?: string;
  readonly masters: readonly string[];
  readonly clusterSecret: string;
  /** Settings of the group `ingest`. */
  readonly ingest?: object;
  readonly more?: object;
  /** A base directory of the caller's, which stays: to start the same node again. */
  readonly baseDir?: string;
}

/** A storage node that runs in this process and takes blocks in. */
export interface StorageNode extends TestServer {
  readonly port: number;
  readonly opsPort: number;
  readonly baseDir: string;
  /** Sends a block, or whatever else, with `fetch`. */
  send(
    cid: string | null,
    body: Uint8Array<ArrayBuffer> | string,
    headers?: Readonly<Record<string, string>>,
  ): Promise<{ readonly status: number; readonly json: Readonly<Record<string, unknown>>; readonly headers: Headers }>;
}

/** The cluster that every box of the tests belongs to. */
export const TEST_CLUSTER_ID = "6f1e9a4e-0000-4000-8000-000000000001";

/** The raw BLAKE3 CID of these bytes. */
export function blake3Cid(bytes: Uint8Array): string {
  return CID.createV1(RAW_CODEC, createMultihash(BLAKE3, blake3(bytes))).toString();
}

/** The facts of a node of this master's federation. */
export function nodeOf(box: ServingBox, kubo: string, more: Partial<StorageNodeFacts> = {}): StorageNodeFacts {
  const clusterSecret = box.secrets["CLUSTER_SECRET"] ?? "";
  return { kubo, masters: [`http://127.0.0.1:${box.ports.api}`], clusterSecret, ...more };
}

/** A base directory that a storage node can start in. */
export interface StorageBox {
  readonly baseDir: string;
  readonly port: number;
  readonly opsPort: number;
}

/** Makes one; whoever does removes its directory. */
export async function makeStorageBox(facts: StorageNodeFacts): Promise<StorageBox> {
  const baseDir = facts.baseDir ?? mkdtempSync(join(tmpdir(), "fula-node-"));
  const [port, opsPort, nobody] = [await findFreePort(), await findFreePort(), await findFreePort()];
  mkdirSync(join(baseDir, "state", "locks"), { recursive: true });
  const settings = {
    runtime: "external",
    node: { role: "storage", name: "node-1", clusterId: TEST_CLUSTER_ID },
    blocks: { mode: "kubo", kuboApi: facts.kubo },
    cluster: { mode: "rest", api: facts.cluster ?? `http://127.0.0.1:${nobody}` },
    server: { port: opsPort, logLevel: "debug" },
    ...facts.more,
    ingest: { masters: facts.masters, port, ...facts.ingest },
  };
  writeFileSync(join(baseDir, "fula-master.yaml"), JSON.stringify(settings), { mode: 0o600 });
  writeFileSync(join(baseDir, ".env"), `CLUSTER_SECRET=${facts.clusterSecret}\n`, { mode: 0o600 });
  return { baseDir, port, opsPort };
}

/** Starts one in this process. */
export async function startStorageNode(facts: StorageNodeFacts): Promise<StorageNode> {
  const { baseDir, port, opsPort } = await makeStorageBox(facts);
  const load = async () => await loadConfig({ globals: { baseDir }, env: {}, cwd: "/" });
  const running = await startTestServer({ load });
  return {
    server: running.server,
    loaded: running.loaded,
    get logged() {
      return running.logged;
    },
    logText: () => running.logText(),
    port,
    opsPort,
    baseDir,
    send: async (cid, body, headers = {}) => {
      const query = cid === null ? "" : `?cid=${cid}`;
      const response = await fetch(`http://127.0.0.1:${port}/v0/block${query}`, { method: "PUT", headers, body });
      return { status: response.status, json: JSON.parse(await response.text()), headers: response.headers };
    },
    [Symbol.asyncDispose]: async () => {
      await running[Symbol.asyncDispose]();
      if (facts.baseDir === undefined) rmSync(baseDir, { recursive: true, force: true });
    },
  };
}
