import { randomBytes } from "node:crypto";
import { create } from "kubo-rpc-client";
import { resolveUserId } from "../../src/lib/identity/user-id.ts";
import { createPool } from "../../src/lib/postgres/pool.ts";
import { signToken } from "../support/api.ts";
import { findFreePort } from "../support/free-port.ts";
import { startKubo } from "../support/kubo-process.ts";
import { startTestPostgres } from "../support/postgres-server.ts";
import { makeServingBox, startTestServer } from "../support/serving.ts";
import { blake3Cid, nodeOf, startStorageNode } from "../support/storage-node.ts";
import { measureInTurns, printAgainstFirst } from "./measure.ts";

/** What clients cut files into, and the largest block that there is. */
const SIZES = [262_144, 2_097_152] as const;
const BYTES = 16 * 1_048_576;
const CLIENTS = [1, 8] as const;
const ROUNDS = 3;

interface Block {
  readonly cid: string;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/** Different bytes in every round: Kubo writes nothing of what it has. Naming them is the client's work, not the node's. */
function makeBlocks(sizeBytes: number): readonly Block[] {
  return Array.from({ length: BYTES / sizeBytes }, () => {
    const bytes = new Uint8Array(randomBytes(sizeBytes));
    return { cid: blake3Cid(bytes), bytes };
  });
}

/** Has so many clients send the blocks, each the next one that nobody has sent. */
async function sendAll(blocks: Block[], clients: number, send: (block: Block) => Promise<void>): Promise<void> {
  const client = async (): Promise<void> => {
    for (let block = blocks.pop(); block !== undefined; block = blocks.pop()) await send(block);
  };
  await Promise.all(Array.from({ length: clients }, client));
}

/**
 * Compares a storage node's entrance (identity, hash, put, hold, lease) with Kubo's bare block/put. Client, node and master
 * share one process here, so that what the node adds is told as more than it is on boxes of their own.
 */
export async function bench(): Promise<void> {
  await using kubo = await startKubo();
  const { postgres, stop } = await startTestPostgres();
  await using opened = new AsyncDisposableStack();
  opened.defer(stop);
  const { host, port, owner, template: database } = postgres;
  const options = {
    host,
    port,
    database,
    user: owner.user,
    password: owner.password,
    part: "bench",
    node: "bench",
  };
  const pool = createPool({ ...options, max: 2 });
  opened.defer(async () => {
    await pool.end();
  });
  const drop = async (): Promise<void> => {};
  const ledger = { name: database, url: "", options, pool, drop, [Symbol.asyncDispose]: drop };
  await using box = await makeServingBox({ server: { logLevel: "error" } }, null, ledger);
  await using _master = await startTestServer(box);
  const more = { ingest: { perIdentity: 8 }, more: { server: { port: await findFreePort(), logLevel: "error" } } };
  await using node = await startStorageNode(nodeOf(box, kubo.api, more));
  const claims = { sub: resolveUserId("bench@example.com"), scope: "storage:*" };
  const headers = { authorization: `Bearer ${await signToken(box.secrets["JWT_SECRET"] ?? "", claims)}` };
  const rpc = create({ url: kubo.api });
  const putBare = async ({ bytes }: Block): Promise<void> => {
    await rpc.block.put(bytes, { format: "raw", mhtype: "blake3", version: 1, allowBigBlock: true });
  };
  const putByNode = async ({ cid, bytes }: Block): Promise<void> => {
    const { status, json } = await node.send(cid, bytes, headers);
    if (status !== 200) throw new Error(`${status} ${JSON.stringify(json)}`);
  };
  for (const sizeBytes of SIZES) {
    for (const clients of CLIENTS) {
      const all = Array.from({ length: 2 * (ROUNDS + 1) }, () => makeBlocks(sizeBytes));
      const next = (): Block[] => [...(all.pop() ?? [])];
      const measured = await measureInTurns(
        [
          { name: "Kubo block/put", run: async () => await sendAll(next(), clients, putBare) },
          { name: "storage node", run: async () => await sendAll(next(), clients, putByNode) },
        ],
        ROUNDS,
      );
      console.log(`${clients} client(s), blocks of ${sizeBytes / 1_024} KiB, ${BYTES / 1_048_576} MiB a round`);
      printAgainstFirst(measured);
      const speeds = measured.map(({ name, medianMs }) => `${name} ${(BYTES / 1_000 / medianMs).toFixed(0)} MB/s`);
      console.log(`${speeds.join(", ")}\n`);
    }
  }
}
