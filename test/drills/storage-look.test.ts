import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openKuboBlockStore } from "../../src/lib/blocks/kubo.ts";
import { openRestCluster } from "../../src/lib/cluster/rest.ts";
import { systemClock } from "../../src/lib/kernel/clock.ts";
import { systemRandom } from "../../src/lib/kernel/random.ts";
import { ensureProbe, probeOf } from "../../src/lib/membership/probe.ts";
import type { PeersDocument } from "../../src/lib/membership/peers-document.ts";
import {
  awaitStorage,
  lookAtStorage,
  type StorageCheck,
  type StorageClaimName,
} from "../../src/lib/stack/storage-verify.ts";
import { type ClusterPeer, startCluster, type TestCluster } from "../support/cluster-processes.ts";
import { CLUSTER_ID, makeDocument, makePeer } from "../support/federation.ts";
import { settled, until } from "../support/until.ts";

const PATIENCE_MS = 240_000;
const signal = new AbortController().signal;
let cluster: TestCluster;
let document: PeersDocument;

beforeAll(async () => {
  cluster = await startCluster([
    { name: "master" },
    { name: "node", follower: true, trusts: ["master"] },
    { name: "gullible", follower: true, trusts: ["master", "node"] },
    { name: "posing", trusts: ["master"] },
  ]);
  const master = cluster.peer("master");
  document = makeDocument({
    masters: [makePeer({ name: "master", clusterPeerId: master.id, clusterAddresses: [master.address] })],
    probe: probeOf(CLUSTER_ID).cid.toString(),
  });
});
afterAll(async () => {
  await cluster[Symbol.asyncDispose]();
});

/** A check as the container's description would make it for a peer that runs as it should. */
function checkOf(peer: ClusterPeer, changes: Partial<StorageCheck> = {}): StorageCheck {
  return {
    clusterApi: peer.api,
    document,
    startedAs: async () => ({ followerMode: true, trustedPeers: document.masters.map((each) => each.clusterPeerId) }),
    openApis: async () => [],
    tryToWrite: true,
    clock: systemClock,
    random: systemRandom,
    signal,
    ...changes,
  };
}

async function failing(check: StorageCheck): Promise<readonly StorageClaimName[]> {
  const { claims } = await lookAtStorage(check);
  return claims.filter((claim) => !claim.holds).map(({ name }) => name);
}

/** What does not hold, once it is that alone: a peer that is busy for a moment is said to be what it is not. */
async function lasting(check: StorageCheck, wanted: readonly StorageClaimName[]): Promise<readonly StorageClaimName[]> {
  return await settled(
    async () => await failing(check),
    (seen) => seen.join() === wanted.join(),
  );
}

async function withMaster<T>(use: (pins: ReturnType<typeof openRestCluster>) => Promise<T>): Promise<T> {
  await using pins = openRestCluster({
    clusterId: CLUSTER_ID,
    url: cluster.peer("master").api,
    defaultFactors: { replication_factor_min: 1, replication_factor_max: 2 },
  });
  return await use(pins);
}

async function pinset(): Promise<string> {
  return await withMaster(async (pins) => {
    const cids: string[] = [];
    for await (const { cid } of pins.pins()) cids.push(cid);
    return cids.toSorted().join();
  });
}

describe("a storage node is looked at with real daemons", () => {
  test("the probe that nobody has pinned yet is missed, and is held once a master has pinned it", async () => {
    const check = checkOf(cluster.peer("node"));
    await until("everything else is well", async () => (await failing(check)).join() === "replicates");
    await withMaster(async (pins) => {
      const blocks = openKuboBlockStore(cluster.peer("master").kubo.api);
      await ensureProbe(pins, blocks, systemClock.nowMs(), signal);
      const first = await pins.pin(document.probe);
      await ensureProbe(pins, blocks, systemClock.nowMs(), signal);
      expect(await pins.pin(document.probe)).toEqual(first);
    });
    const { claims, clusterPeerId, kuboPeerId } = await awaitStorage(check, PATIENCE_MS, () => {});
    expect(claims.map(({ name, holds }) => `${name} ${holds}`)).toEqual([
      "answers true",
      "private true",
      "kubo true",
      "joined true",
      "trust true",
      "follower true",
      "no-trace true",
      "replicates true",
    ]);
    expect(clusterPeerId).toBe(cluster.peer("node").id);
    expect(kuboPeerId).not.toBeNull();
  });

  test("what is not so for a moment, once all was well, is waited for", async () => {
    const looks: (readonly string[])[] = [[], ["192.0.2.1:9094"]];
    const openApis = async (): Promise<readonly string[]> => looks.shift() ?? [];
    const waited: string[] = [];
    const check = checkOf(cluster.peer("node"), { openApis });
    const { claims } = await awaitStorage(check, PATIENCE_MS, (text) => void waited.push(text));
    expect(claims.filter(({ holds }) => !holds)).toEqual([]);
    expect(waited.join("\n")).toMatch(/^(?:.*, )?private.*: waiting/m);
    expect(looks).toEqual([]);
  });

  test("a follower that trusts another node than the masters is found by what the daemon says itself", async () => {
    const check = checkOf(cluster.peer("gullible"));
    await until("trust in the other node is seen", async () => {
      const { claims } = await lookAtStorage(check);
      const trust = claims.find(({ name }) => name === "trust");
      return trust?.holds === false && trust.message.includes(cluster.peer("node").id);
    });
  });

  test("a follower that was told to trust everybody is found by how it was started", async () => {
    const startedAs: StorageCheck["startedAs"] = async () => ({ followerMode: true, trustedPeers: ["*"] });
    expect(await lasting(checkOf(cluster.peer("node"), { startedAs }), ["trust"])).toEqual(["trust"]);
  });

  test("a writer that poses as a follower is found by what it takes, and nothing of that stays in the pinset", async () => {
    const before = await pinset();
    const wanted = ["follower", "no-trace"] as const;
    expect(await lasting(checkOf(cluster.peer("posing")), wanted)).toEqual(wanted);
    await until("the pinset is as before", async () => (await pinset()) === before);
  });

  test("a look without an attempt to write changes nothing and still tells a follower by its container", async () => {
    const check = checkOf(cluster.peer("posing"), { tryToWrite: false });
    const started = { followerMode: false, trustedPeers: [cluster.peer("master").id] };
    expect(await lasting({ ...check, startedAs: async () => started }, ["follower"])).toEqual(["follower"]);
  });

  test("a node whose masters are others than those that it was told of has not joined", async () => {
    const stranger = { ...document, masters: [makePeer({ name: "elsewhere" })] };
    const wanted = ["joined", "trust"] as const;
    expect(await lasting(checkOf(cluster.peer("node"), { document: stranger }), wanted)).toEqual(wanted);
  });

  test("an API that others reach is said, with where", async () => {
    const openApis: StorageCheck["openApis"] = async () => ["198.51.100.9:5001"];
    const { claims } = await lookAtStorage(checkOf(cluster.peer("node"), { openApis }));
    expect(claims.find(({ name }) => name === "private")).toMatchObject({
      holds: false,
      message: expect.stringContaining("198.51.100.9:5001"),
    });
  });

  test("masters that are gone, and a peer that does not answer, are said and never taken for well", async () => {
    await cluster.peer("master").process.kill();
    await until("the master is missed", async () => (await failing(checkOf(cluster.peer("node")))).includes("joined"));
    await cluster.peer("node").process.kill();
    const look = await lookAtStorage(checkOf(cluster.peer("node")));
    expect(look).toMatchObject({ clusterPeerId: null, claims: [{ name: "answers", holds: false }] });
  });
});
