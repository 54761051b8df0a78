import * as dagCbor from "@ipld/dag-cbor";
import type { CID } from "multiformats/cid";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createCid, RAW_CODEC } from "../../../src/lib/blocks/cid.ts";
import { openKuboBlockStore } from "../../../src/lib/blocks/kubo.ts";
import { openKuboHolds } from "../../../src/lib/blocks/kubo-holds.ts";
import { createKuboHolder } from "../../../src/lib/buckets/keeping/kubo-holder.ts";
import { createKeeper } from "../../../src/lib/buckets/keeping/keeper.ts";
import { countHolds } from "../../../src/lib/buckets/keeping/hold-table.ts";
import { releaseHolds } from "../../../src/lib/buckets/keeping/release-holds.ts";
import { openRestCluster } from "../../../src/lib/cluster/rest.ts";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { silentLog } from "../../../src/lib/kernel/log.ts";
import { type ClusterPeer, startCluster, type TestCluster } from "../../support/cluster-processes.ts";
import { freshDatabase, type TestDatabase } from "../../support/postgres.ts";
import { until } from "../../support/until.ts";

const signal = new AbortController().signal;

let cluster: TestCluster;
let database: TestDatabase;
let peer: ClusterPeer;

beforeAll(async () => {
  cluster = await startCluster([{ name: "gateway" }, { name: "holder" }]);
  peer = cluster.peer("gateway");
  database = await freshDatabase();
});
afterAll(async () => {
  await cluster?.[Symbol.asyncDispose]();
  await database?.drop();
});

async function stored(text: string, at: ClusterPeer = peer): Promise<CID> {
  const bytes = Buffer.from(text);
  const cid = createCid(RAW_CODEC, bytes);
  await openKuboBlockStore(at.kubo.api).put(cid, bytes);
  return cid;
}

function isThere(cid: CID): boolean {
  return peer.kubo.ipfs("refs", "local").includes(cid.toString());
}

describe("a hold on Kubo", () => {
  test("keeps a block and a DAG from a garbage collection until it ends, and nothing else", async () => {
    const holds = openKuboHolds(peer.kubo.api);
    const [leaf, alone, loose] = [await stored("leaf"), await stored("alone"), await stored("loose")];
    const bytes = dagCbor.encode({ leaf });
    const node = createCid(dagCbor.code, bytes);
    await openKuboBlockStore(peer.kubo.api).put(node, bytes);
    await holds.hold(node, "recursive");
    await holds.hold(alone, "direct");
    peer.kubo.ipfs("repo", "gc");
    expect([isThere(leaf), isThere(alone), isThere(loose)]).toEqual([true, true, false]);
    expect([await holds.letGo(node), await holds.letGo(alone), await holds.letGo(loose)]).toEqual([true, true, false]);
    peer.kubo.ipfs("repo", "gc");
    expect([isThere(leaf), isThere(alone)]).toEqual([false, false]);
  });

  test("of a DAG that lacks a block is refused at once instead of waiting for the network", async () => {
    const holds = openKuboHolds(peer.kubo.api);
    const gone = createCid(RAW_CODEC, Buffer.from("nobody has it"));
    const bytes = dagCbor.encode({ gone });
    const node = createCid(dagCbor.code, bytes);
    await openKuboBlockStore(peer.kubo.api).put(node, bytes);
    await expect(holds.hold(node, "recursive", AbortSignal.timeout(60_000))).rejects.toMatchObject({
      code: "FULA_BLOCK_MISSING",
    });
    await expect(holds.hold(gone, "direct")).rejects.toMatchObject({ code: "FULA_BLOCK_MISSING" });
  });

  test("leaves a pin that somebody else made as it is, and does not end it", async () => {
    const holds = openKuboHolds(peer.kubo.api);
    const cid = await stored("an operator's own");
    peer.kubo.ipfs("pin", "add", "--name=mine", cid.toString());
    await holds.hold(cid, "recursive");
    expect(await holds.letGo(cid)).toBe(false);
    expect(peer.kubo.ipfs("pin", "ls", "--type=recursive", "--names")).toContain(`${cid.toString()} recursive mine`);
  });
});

describe("what a gateway keeps", () => {
  async function keepOnOne(text: string): Promise<CID> {
    const node = peer.kubo.peerId;
    const holds = openKuboHolds(peer.kubo.api);
    await using pins = openRestCluster({
      clusterId: "drill",
      url: peer.api,
      defaultFactors: { replication_factor_min: 1, replication_factor_max: 1 },
    });
    const keeper = createKeeper({
      roots: { announce: async () => systemClock.nowMs() },
      blocks: openKuboBlockStore(peer.kubo.api),
      holder: createKuboHolder({ holds, pool: database.pool, node }),
      pins,
      clock: systemClock,
    });
    const content = await stored(text);
    await keeper.keepContents([{ content, pinName: `object:b/${text}` }], signal);
    expect(await countHolds(database.pool, node)).toBeGreaterThan(0);
    await until("the cluster has pinned it", async () => {
      const status = await pins.status(content.toString());
      return status?.peers.some((each) => each.status === "pinned");
    });
    await until("the hold has ended", async () => {
      // Looked at now, not in a minute; what cannot be judged at one look is judged at the next.
      await database.pool.query("update bucket_holds set look_at = now()");
      return (await releaseHolds({ pool: database.pool, holds, pins, node, log: silentLog })).waiting === 0;
    });
    return content;
  }

  test("is let go of once a peer has it, wherever the cluster put it, and is never without a pin", async () => {
    for (let round = 0; round < 6; round += 1) {
      const content = await keepOnOne(`content ${round}`);
      expect(await countHolds(database.pool, peer.kubo.peerId)).toBe(0);
      const holders = cluster.peers.filter(({ kubo }) => {
        return kubo.ipfs("pin", "ls", "--type=recursive").includes(content.toString());
      });
      expect(holders).toHaveLength(1);
    }
  });
});
