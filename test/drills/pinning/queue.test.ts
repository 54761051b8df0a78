import { afterAll, beforeAll, expect, test } from "vitest";
import { openKuboBlockStore } from "../../../src/lib/blocks/kubo.ts";
import { openKuboNetwork } from "../../../src/lib/blocks/kubo-network.ts";
import { collectGarbage } from "../../../src/lib/buckets/collector.ts";
import type { PinCluster } from "../../../src/lib/cluster/pins.ts";
import { openRestCluster } from "../../../src/lib/cluster/rest.ts";
import { dialOrigins } from "../../../src/lib/pinning/dial-origins.ts";
import { measureDag } from "../../../src/lib/pinning/measure-dag.ts";
import { enqueueReplacement } from "../../../src/lib/pinning/queue/enqueue.ts";
import { startWorkers } from "../../../src/lib/pinning/queue/worker.ts";
import { withTransaction } from "../../../src/lib/postgres/transaction.ts";
import { askNetwork } from "../../../src/lib/runtime/network.ts";
import { startCluster, type TestCluster } from "../../support/cluster-processes.ts";
import { type KuboProcess, startKubo } from "../../support/kubo-process.ts";
import { askForPin, pinRows, takePinBack, workerParts } from "../../support/pin-queue.ts";
import { freshDatabase, type TestDatabase } from "../../support/postgres.ts";
import { until } from "../../support/until.ts";

const { signal } = new AbortController();
const KIB = 1_024;
/** Peers that soon give up what nobody has: they are asked again. */
const IMPATIENT = { CLUSTER_IPFSHTTP_PINTIMEOUT: "5s" };

let database: TestDatabase;
let cluster: TestCluster;
/** A user's own node: no peer knows it. */
let home: KuboProcess;
let pins: PinCluster & AsyncDisposable;
let workers: AsyncDisposable;

beforeAll(async () => {
  [database, cluster, home] = await Promise.all([
    freshDatabase(),
    startCluster([
      { name: "a", env: IMPATIENT },
      { name: "b", follower: true, env: IMPATIENT },
    ]),
    startKubo(),
  ]);
  const { api, kubo } = cluster.peer("a");
  const defaultFactors = { replication_factor_min: 2, replication_factor_max: 2 };
  pins = openRestCluster({ clusterId: "drill", url: api, defaultFactors });
  const network = openKuboNetwork(kubo.api, askNetwork);
  workers = startWorkers(
    workerParts(
      { pool: database.pool, pins, blocks: openKuboBlockStore(kubo.api) },
      {
        measure: async (cid, stop) => await network.measure(cid, stop),
        dial: async (origins, stop) => {
          await dialOrigins(network, origins, stop);
        },
      },
    ),
  );
});
afterAll(async () => {
  await workers[Symbol.asyncDispose]();
  await pins[Symbol.asyncDispose]();
  await Promise.all([cluster, home, database].map(async (each) => await each[Symbol.asyncDispose]()));
});

/** Adds a file of these chunks to the user's node. @returns its CID, in CIDv1 */
async function addAtHome(chunks: readonly number[]): Promise<string> {
  const form = new FormData();
  form.append("file", new Blob(chunks.map((fill) => new Uint8Array(256 * KIB).fill(fill))));
  const url = `${home.api}/api/v0/add?cid-version=1&chunker=size-262144&raw-leaves=true`;
  const answer = await askNetwork(url, { method: "POST", body: form });
  const { Hash: cid }: { readonly Hash: string } = JSON.parse(await answer.text());
  return cid;
}

/** The peers are asked ever more seldom: whoever just missed two looks waits for minutes. */
const LOOKS_MS = 280_000;

async function pinned(id: string): Promise<bigint> {
  const sizeOf = async (): Promise<bigint | null> => {
    const row = (await pinRows(database.pool)).find(({ requestid }) => requestid === id);
    return row?.status === "pinned" && row.size !== "0" && row.size !== null ? BigInt(row.size) : null;
  };
  return await until(`${id} is pinned and measured`, sizeOf, LOOKS_MS);
}

async function heldAt(cid: string): Promise<readonly string[] | undefined> {
  return (await pins.status(cid))?.peers.map(({ status }) => status);
}

test("what only a user's own node has is fetched from it, held by every peer, measured, updated, and let go in the end", {
  timeout: 900_000,
}, async () => {
  const first = await addAtHome([1, 2, 2, 3]);
  await askForPin(database.pool, { id: "r-1", cid: first, name: "album", origins: [home.swarmAddress] });
  const size = await pinned("r-1");
  // Four chunks, two of them the same block: what it takes is what is billed, not what the file says.
  expect(size).toBeGreaterThan(3n * 256n * BigInt(KIB));
  expect(size).toBeLessThan(4n * 256n * BigInt(KIB));
  expect(await measureDag(first, openKuboBlockStore(home.api), signal)).toBe(size);
  expect(await heldAt(first)).toEqual(["pinned", "pinned"]);

  const second = await addAtHome([1, 2, 2, 4]);
  await askForPin(database.pool, { id: "r-2", cid: second, name: "album", origins: [home.swarmAddress] });
  await withTransaction(database.pool, async (client) => {
    await client.query("update pins set status = 'deleted' where requestid = 'r-1'");
    await enqueueReplacement(client, { from: first, to: second });
  });
  expect(await pinned("r-2")).toBe(size);

  await takePinBack(database.pool, "r-2");
  await until(
    "nobody has anything to do",
    async () => {
      const { rows } = await database.pool.query("select from pin_jobs");
      return rows.length === 0;
    },
    LOOKS_MS,
  );
  const parts = { pool: database.pool, pins, reach: async function* () {} };
  const { report } = await collectGarbage(parts, { graceMs: 0, dryRun: false, signal });
  expect(report).toMatchObject({ candidates: 2, unpinned: 2 });
  expect(await pins.pin(first)).toBe(null);
  expect(await pins.pin(second)).toBe(null);
});

test("a pin that takes the place of another one is an update of it at every peer", { timeout: 900_000 }, async () => {
  const from = await addAtHome([11, 12]);
  const to = await addAtHome([11, 13]);
  await askForPin(database.pool, { id: "u-1", cid: from, name: "notes", origins: [home.swarmAddress] });
  await pinned("u-1");
  await withTransaction(database.pool, async (client) => {
    await client.query(
      `insert into pins (requestid, user_id, cid, cid_key, name, origins, status)
       select 'u-2', user_id, $1, $1, name, origins, 'queued' from pins where requestid = 'u-1'`,
      [to],
    );
    await client.query("update pins set status = 'deleted' where requestid = 'u-1'");
    await enqueueReplacement(client, { from, to });
  });
  await pinned("u-2");
  const { api } = cluster.peer("a");
  const answer = await askNetwork(`${api}/allocations/${to}`, {});
  expect(JSON.parse(await answer.text())).toMatchObject({
    name: "notes",
    pin_update: from,
    metadata: { source: "pinning" },
  });
  expect(await heldAt(to)).toEqual(["pinned", "pinned"]);
});

test("what nobody has is told to be waited for, and the peers are asked again when it turns up", {
  timeout: 900_000,
}, async () => {
  const cid = await addAtHome([21]);
  await home.process.kill();
  await askForPin(database.pool, { id: "w-1", cid, origins: [home.swarmAddress] });
  await until(
    "the user is told what it waits for",
    async () => {
      const row = (await pinRows(database.pool)).find(({ requestid }) => requestid === "w-1");
      return row?.status === "pinning" && row.info.includes("0 of 2 peers hold it.");
    },
    LOOKS_MS,
  );
  await home.process.start();
  await pinned("w-1");
});
